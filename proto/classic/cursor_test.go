package classic_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/classic"
)

func TestACursorComesBackAsItWasSent(t *testing.T) {
	for text, c := range map[string]classic.Cursor{
		"d-00000000-0":                {},
		"d-AB0B44B6-1F":               {Epoch: 0xab0b44b6, Number: 31},
		"d-0000000A-100":              {Epoch: 10, Number: 256},
		"d-FFFFFFFF-FFFFFFFFFFFFFFFF": {Epoch: math.MaxUint32, Number: math.MaxUint64},
	} {
		assert.Equal(t, text, c.String())
		parsed, ok := classic.ParseCursor(text)
		assert.True(t, ok)
		assert.Equal(t, c, parsed)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := classic.Cursor{Epoch: rapid.Uint32().Draw(t, "epoch"), Number: rapid.Uint64().Draw(t, "number")}
		parsed, ok := classic.ParseCursor(c.String())
		require.True(t, ok)
		require.Equal(t, c, parsed)
	})
}

// A cursor of another server, or one that is none, is as good as none.
func TestCursorsOfOthersAreNone(t *testing.T) {
	for _, text := range []string{
		"", "d", "d-", "d--", "d-00000000", "d-00000000-", "d--0", "-00000000-0", "00000000-0", "D-00000000-0", "s-00000000-0", "d-0000000-0", "d-000000000-0",
		"d-AB0B44B6-C,0|D,0|E,1", "d-AB0B44B6-1,", "d-AB0B44B6-1-2", "d-AB0B44B6--1", "d-AB0B44B6-+1", "d-AB0B44B6- 1", "d-AB0B44B6-1 ", "d-AB0B44B6-1\n", " d-AB0B44B6-1",
		"d-AB0B44BG-1", "d-+B0B44B6-1", "d-0xAB0B44-1", "d-AB0B44B6-0x1", "d-AB0B44B6-1_0", "d-AB0B44B6-G", "d-AB0B44B6-00000000000000000", "d-AB0B44B6-10000000000000000",
		"null", "undefined", "0", "\x00",
	} {
		_, ok := classic.ParseCursor(text)
		assert.False(t, ok, "%q", text)
	}
}

// Clients look for what is there, not for its value: what is absent must not be written.
func TestEnvelope(t *testing.T) {
	c := classic.Cursor{Epoch: 0xab0b44b6, Number: 31}
	groups, none := "AQID+/==", ""
	for want, e := range map[string]classic.Envelope{
		`{"C":"d-AB0B44B6-1F","M":[]}`:                   {Cursor: c},
		`{"C":"d-00000000-0","M":[]}`:                    {},
		`{"C":"d-AB0B44B6-1F","S":1,"M":[]}`:             {Cursor: c, Initialized: true},
		`{"C":"d-AB0B44B6-1F","T":1,"M":[]}`:             {Cursor: c, GoingAway: true},
		`{"C":"d-AB0B44B6-1F","G":"AQID+/==","M":[]}`:    {Cursor: c, Groups: &groups},
		`{"C":"d-AB0B44B6-1F","G":"","M":[]}`:            {Cursor: c, Groups: &none},
		`{"C":"d-AB0B44B6-1F","L":1500,"M":[]}`:          {Cursor: c, LongPoll: 1500},
		`{"C":"d-AB0B44B6-1F","M":[1]}`:                  {Cursor: c, Messages: [][]byte{[]byte("1")}},
		`{"C":"d-AB0B44B6-1F","M":[{"H":"h"},"x",null]}`: {Cursor: c, Messages: [][]byte{[]byte(`{"H":"h"}`), []byte(`"x"`), []byte("null")}},
		`{"C":"d-AB0B44B6-1F","S":1,"T":1,"G":"AQID+/==","L":1,"M":[0]}`: {
			Cursor: c, Initialized: true, GoingAway: true, Groups: &groups, LongPoll: 1, Messages: [][]byte{[]byte("0")},
		},
	} {
		assert.Equal(t, "before"+want, string(e.Append([]byte("before"))))
		assert.JSONEq(t, want, string(e.Append(nil)))
	}
}
