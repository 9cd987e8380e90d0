package actors

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The reader waits for an upload that is linktest.Full, and goes on when its items are taken.
func TestTheReaderWaitsForAFullUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"))
		var records []any
		var sent func() bool
		for i := range 40 {
			sent = c.later(one("s", i))
			records = append(records, i)
		}
		assert.False(t, sent())
		assert.True(t, c.conn.in.waiting.Load())
		u := c.conn.calls.upload([]byte("s"), false)
		assert.LessOrEqual(t, len(u.items), w.settings.StreamBuffer+1)
		assert.Equal(t, 1, c.conn.in.fullUploads)
		ended := c.later(over("s"))
		open()
		w.settle()
		assert.True(t, sent())
		assert.True(t, ended())
		items, err := s.of("1/s")
		assert.Equal(t, quoted(records...), items)
		assert.Equal(t, io.EOF, err)
		c.clean(t)
	})
}

// What one read has brought is kept, however much it is.
func TestMoreThanTheBufferHoldsInOneRead(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		records := []string{uploading("1", "later", "s", "r")}
		var want []any
		for i := range 20 {
			records = append(records, one("s", i), one("r", i))
			want = append(want, i)
		}
		c.say(append(records, over("s"), over("r"))...)
		w.settle()
		assert.Equal(t, 2, c.conn.in.fullUploads)
		sent := c.later(call("2", "echo"))
		assert.False(t, sent())
		open()
		w.settle()
		assert.True(t, sent())
		for _, id := range []string{"s", "r"} {
			items, _ := s.of("1/" + id)
			assert.Equal(t, quoted(want...), items)
		}
		c.clean(t)
	})
}

// An upload that holds what it may hold keeps nobody waiting yet: what the client sends next may be what its call waits for.
func TestABufferThatIsJustFull(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.StreamBuffer = 2
		w.handler.methods["second"] = func(k *Call, _ string) (any, error) { // takes the second stream first
			list, _ := k.Uploads()
			second, _ := take(list[1])
			first, _ := take(list[0])
			return append(second, first...), nil
		}
		c := w.open("a", "")
		sent := []func() bool{
			c.later(uploading("1", "second", "s", "r"), one("s", 1)), c.later(one("s", 2)), c.later(one("r", 3)), c.later(over("r")), c.later(over("s")),
		}
		w.settle()
		for i, sent := range sent {
			assert.True(t, sent(), "record %d is read", i)
		}
		assert.Equal(t, []string{result("1", `["\"3\"","\"1\"","\"2\""]`)}, c.got())
		c.clean(t)
	})
}

// An item is charged until it is taken.
func TestItemsAreCharged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		w.settings.StreamBuffer = 1000
		w.settings.InboundLimit = 5*charge + 100
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"))
		var sent func() bool
		for i := range 8 {
			sent = c.later(one("s", i))
		}
		assert.False(t, sent())
		assert.Equal(t, 5*charge, c.conn.in.charged)
		open()
		w.settle()
		assert.True(t, sent())
		c.say(over("s"))
		w.settle()
		items, _ := s.of("1/s")
		assert.Len(t, items, 8)
		c.clean(t)
	})
}
