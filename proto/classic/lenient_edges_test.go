package classic_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// A text that is no number does not fit, whatever it holds.
func TestTextsThatLookLikeJSONDoNotFit(t *testing.T) {
	for _, test := range []struct {
		arguments string
		params    []any
	}{
		{`["[",1]`, []any{0, 0}}, {`["["]`, []any{0}}, {`["{"]`, []any{0}}, {`["}"]`, []any{0}}, {`["]"]`, []any{true}}, {`["",""]`, []any{0, 0}}, {`["\""]`, []any{0}}, {`["\"x"]`, []any{0}},
		{`["\\"]`, []any{0}}, {`["\u0033"]`, []any{0}}, {`["",1]`, []any{0, ""}}, {`["1,2",""]`, []any{0, 0}}, {`["null"]`, []any{(*int)(nil)}}, {`["1 2"]`, []any{0}},
		{`["1,2","",""]`, []any{0, 0, 0}}, {`["","1,2"]`, []any{0, 0}}, {`["1,2,3","x"]`, []any{0, 0}},
	} {
		assert.NotPanics(t, func() {
			_, err := bind(test.arguments, test.params...)
			var fault *hubproto.BindError
			assert.ErrorAs(t, err, &fault, "%s", test.arguments)
		}, test.arguments)
	}
}

func TestNamesWithEscapedQuotes(t *testing.T) {
	names, err := classic.Names(`[{'name':'\"'}]`)
	assert.NoError(t, err)
	assert.Equal(t, []string{`"`}, names)
}

func FuzzLenient(f *testing.F) {
	for _, seed := range []string{`["3",5,"true","1.5"]`, `["1.6",null,"",""]`, `["-0","x","1","1e400"]`, `[[3],{},true,false]`, `[[{"X":"1"}],{"a":["2",3]},""]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arguments string) {
		var elements []any
		if json.Unmarshal([]byte(arguments), &elements) != nil || elements == nil || strings.TrimSpace(arguments) != arguments {
			return
		}
		if got, err := bind(arguments, 0, "", true, 1.5); err == nil {
			require.Len(t, elements, len(got))
		}
		_, _ = bind(arguments, []point{}, map[string][]int{}, new(int))
	})
}
