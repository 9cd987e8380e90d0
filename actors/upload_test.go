package actors

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "take", "s"), uploadItem("s", 1))
		c.send(uploadItem("s", 2))
		e.settle()
		assert.Empty(t, c.messages())
		c.send(uploadItem("s", 3), uploadEnd("s"))
		e.settle()
		items, err := rec.get("1/s")
		assert.Equal(t, quotedItems(1, 2, 3), items)
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, []string{result("1", `"taken"`)}, c.messages())
		c.requireIdle(t)
	})
}

// Items that arrive before their call has started are delivered when it does.
func TestItemsWaitForTheirCall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, open := e.addTakeMethods()
		gate, pass := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(call("1", "gate"), call("2", "gate"), uploadCall("3", "take", "s", "r"), uploadItem("s", 1))
		c.send(uploadItem("r", "x"))
		c.send(uploadItem("s", 2), uploadEnd("s"))
		c.send(uploadEnd("r"))
		e.sleep(schedulingTime)
		assert.Empty(t, c.messages())
		assert.NotZero(t, c.conn.in.charged)
		pass()
		open()
		e.sleep(schedulingTime)
		items, err := rec.get("3/s")
		assert.Equal(t, quotedItems(1, 2), items)
		assert.Equal(t, io.EOF, err)
		items, _ = rec.get("3/r")
		assert.Equal(t, quotedItems("x"), items)
		assert.ElementsMatch(t, []string{result("1", `"passed"`), result("2", `"passed"`), result("3", `"taken"`)}, c.messages())
		c.requireIdle(t)
	})
}

// Items that arrive during OnConnected are delivered afterwards.
func TestItemsWaitForOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		gate, open := e.gate()
		e.handler.connected = func(k *Call) error { _, err := gate(k, ""); return err }
		c := e.open("a", "")
		c.send(uploadCall("1", "take", "s"), uploadItem("s", 1))
		c.send(uploadItem("s", 2), uploadEnd("s"))
		e.settle()
		assert.Empty(t, c.messages())
		open()
		e.settle()
		items, _ := rec.get("1/s")
		assert.Equal(t, quotedItems(1, 2), items)
		assert.Len(t, c.messages(), 1)
		c.requireIdle(t)
	})
}

func TestConcurrentUploads(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "take", "a", "b"), uploadCall("2", "take", "c"), uploadCall("", "take", "d"))
		want := map[string][]any{}
		for i := range 50 {
			for _, id := range []string{"a", "b", "c", "d"}[i%3:] {
				c.send(uploadItem(id, i))
				want[id] = append(want[id], i)
			}
		}
		c.send(uploadEnd("b"), failure("c", "broken"))
		c.send(uploadEnd("d"), uploadEnd("a"))
		e.settle()
		for _, key := range []string{"1/a", "1/b", "2/c", "/d"} {
			items, err := rec.get(key)
			_, id, _ := strings.Cut(key, "/")
			assert.Equal(t, quotedItems(want[id]...), items, key)
			if id == "c" {
				assert.Equal(t, &ClientError{Text: "broken"}, err)
			} else {
				assert.Equal(t, io.EOF, err, key)
			}
		}
		assert.ElementsMatch(t, []string{result("1", `"taken"`), result("2", `"taken"`)}, c.messages())
		c.requireIdle(t)
	})
}

// Items and completions of unknown or ended uploads are ignored.
func TestItemsOfUnknownUploadsAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadItem("none", 1), uploadEnd("none"), failure("none", "x"))
		c.send(uploadCall("1", "take", "s"), uploadItem("s", 1), uploadEnd("s"), uploadItem("s", 2), uploadEnd("s"), failure("s", "late"))
		c.send(uploadItem("s", 3))
		e.settle()
		items, err := rec.get("1/s")
		assert.Equal(t, quotedItems(1), items)
		assert.Equal(t, io.EOF, err)
		c.send(call("2", "echo"))
		e.settle()
		assert.Equal(t, []string{result("1", `"taken"`), result("2", "[]")}, c.messages())
		c.requireIdle(t)
	})
}

// Stream ids are specific to a connection.
func TestUploadIDsBelongToConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		a, b := e.open("a", ""), e.open("b", "")
		a.send(uploadCall("1", "take", "s"))
		b.send(uploadCall("2", "take", "s"))
		a.send(uploadItem("s", "a"))
		b.send(uploadItem("s", "b"), uploadEnd("s"))
		a.send(uploadEnd("s"))
		e.settle()
		for key, want := range map[string]string{"1/s": "a", "2/s": "b"} {
			items, _ := rec.get(key)
			assert.Equal(t, quotedItems(want), items)
		}
		a.requireIdle(t)
		b.requireIdle(t)
	})
}

// A stream id can be reused after the stream has ended, even if its items have not been received yet.
func TestStreamIDCanBeReusedAfterEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, open := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "later", "s"), uploadItem("s", 1), uploadItem("s", 2), uploadEnd("s"))
		c.send(uploadCall("2", "later", "s"), uploadItem("s", 3), failure("s", "no more"))
		c.send(uploadCall("3", "take", "s"), uploadItem("s", 4))
		e.sleep(schedulingTime)
		c.send(uploadItem("s", 5), uploadEnd("s"))
		e.sleep(schedulingTime)
		items, _ := rec.get("3/s")
		assert.Equal(t, quotedItems(4, 5), items)
		open()
		e.sleep(schedulingTime)
		items, err := rec.get("1/s")
		assert.Equal(t, quotedItems(1, 2), items)
		assert.Equal(t, io.EOF, err)
		items, err = rec.get("2/s")
		assert.Equal(t, quotedItems(3), items)
		assert.Equal(t, &ClientError{Text: "no more"}, err)
		c.requireIdle(t)
	})
}

// The end of an older call does not affect a later upload with the same stream id.
func TestEndOfCallKeepsLaterUploadWithSameID(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, open := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "later", "s"), uploadEnd("s"), uploadCall("2", "take", "s"))
		e.settle()
		open()
		e.settle()
		assert.Equal(t, []string{result("1", `"taken"`)}, c.messages())
		c.send(uploadItem("s", 1), uploadEnd("s"))
		e.settle()
		items, _ := rec.get("2/s")
		assert.Equal(t, quotedItems(1), items)
		c.requireIdle(t)
	})
}

func TestCallWithUsedStreamIDFails(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "take", "s"))
		c.send(uploadCall("2", "take", "n", "s"), uploadItem("n", "x"), uploadItem("s", 1))
		c.send(uploadCall("3", "take", "m", "m"), uploadCall("4", "take", "n", "m"), uploadItem("n", 2), uploadEnd("n"), uploadEnd("m"))
		c.send(uploadItem("s", 3), uploadEnd("s"))
		e.settle()
		assert.ElementsMatch(t, []string{
			failure("2", "taken: s"), failure("3", "taken: m"), result("4", `"taken"`), result("1", `"taken"`),
		}, c.messages())
		items, _ := rec.get("1/s")
		assert.Equal(t, quotedItems(1, 3), items, "the first upload continues")
		items, _ = rec.get("4/n")
		assert.Equal(t, quotedItems(2), items)
		c.requireIdle(t)
	})
}
