package actors

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The reader waits while an upload is full, and continues when its items are received.
func TestReaderWaitsForFullUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, open := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "later", "s"))
		var records []any
		var sent func() bool
		for i := range 40 {
			sent = c.sendAsync(uploadItem("s", i))
			records = append(records, i)
		}
		assert.False(t, sent())
		assert.True(t, c.conn.in.waiting.Load())
		u := c.conn.calls.upload([]byte("s"), false)
		assert.LessOrEqual(t, len(u.items), e.settings.StreamBuffer+1)
		assert.Equal(t, 1, c.conn.in.fullUploads)
		ended := c.sendAsync(uploadEnd("s"))
		open()
		e.settle()
		assert.True(t, sent())
		assert.True(t, ended())
		items, err := rec.get("1/s")
		assert.Equal(t, quotedItems(records...), items)
		assert.Equal(t, io.EOF, err)
		c.requireIdle(t)
	})
}

// All items of one read are stored, however many they are.
func TestItemsOfOneReadMayExceedBuffer(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, open := e.addTakeMethods()
		c := e.open("a", "")
		records := []string{uploadCall("1", "later", "s", "r")}
		var want []any
		for i := range 20 {
			records = append(records, uploadItem("s", i), uploadItem("r", i))
			want = append(want, i)
		}
		c.send(append(records, uploadEnd("s"), uploadEnd("r"))...)
		e.settle()
		assert.Equal(t, 2, c.conn.in.fullUploads)
		sent := c.sendAsync(call("2", "echo"))
		assert.False(t, sent())
		open()
		e.settle()
		assert.True(t, sent())
		for _, id := range []string{"s", "r"} {
			items, _ := rec.get("1/" + id)
			assert.Equal(t, quotedItems(want...), items)
		}
		c.requireIdle(t)
	})
}

// The reader does not yet wait for an upload whose buffer is just full, because the call may be waiting for what the client sends
// next.
func TestReaderDoesNotWaitForBufferThatIsJustFull(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.StreamBuffer = 2
		e.handler.methods["second"] = func(k *Call, _ string) (any, error) { // receives the second stream first
			list, _ := k.Uploads()
			second, _ := drainUpload(list[1])
			first, _ := drainUpload(list[0])
			return append(second, first...), nil
		}
		c := e.open("a", "")
		sent := []func() bool{
			c.sendAsync(
				uploadCall("1", "second", "s", "r"), uploadItem("s", 1),
			), c.sendAsync(uploadItem("s", 2)), c.sendAsync(uploadItem("r", 3)), c.sendAsync(uploadEnd("r")), c.sendAsync(uploadEnd("s")),
		}
		e.settle()
		for i, sent := range sent {
			assert.True(t, sent(), "record %d is read", i)
		}
		assert.Equal(t, []string{result("1", `["\"3\"","\"1\"","\"2\""]`)}, c.messages())
		c.requireIdle(t)
	})
}

// An item takes inbound budget until it is received.
func TestItemsAreChargedUntilReceived(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, open := e.addTakeMethods()
		e.settings.StreamBuffer = 1000
		e.settings.InboundLimit = 5*smallMessageCharge + 100
		c := e.open("a", "")
		c.send(uploadCall("1", "later", "s"))
		var sent func() bool
		for i := range 8 {
			sent = c.sendAsync(uploadItem("s", i))
		}
		assert.False(t, sent())
		assert.Equal(t, 5*smallMessageCharge, c.conn.in.charged)
		open()
		e.settle()
		assert.True(t, sent())
		c.send(uploadEnd("s"))
		e.settle()
		items, _ := rec.get("1/s")
		assert.Len(t, items, 8)
		c.requireIdle(t)
	})
}
