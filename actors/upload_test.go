package actors

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAnUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "take", "s"), one("s", 1))
		c.say(one("s", 2))
		w.settle()
		assert.Empty(t, c.got())
		c.say(one("s", 3), over("s"))
		w.settle()
		items, err := s.of("1/s")
		assert.Equal(t, quoted(1, 2, 3), items)
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, []string{result("1", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// What is streamed to a call that waits for its turn waits with it.
func TestItemsThatComeBeforeTheCallStarts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		gate, pass := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "gate"), call("2", "gate"), uploading("3", "take", "s", "r"), one("s", 1))
		c.say(one("r", "x"))
		c.say(one("s", 2), over("s"))
		c.say(over("r"))
		w.pass(soon)
		assert.Empty(t, c.got())
		assert.NotZero(t, c.conn.in.charged)
		pass()
		open()
		w.pass(soon)
		items, err := s.of("3/s")
		assert.Equal(t, quoted(1, 2), items)
		assert.Equal(t, io.EOF, err)
		items, _ = s.of("3/r")
		assert.Equal(t, quoted("x"), items)
		assert.ElementsMatch(t, []string{result("1", `"passed"`), result("2", `"passed"`), result("3", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// They wait for the end of OnConnected, too.
func TestItemsThatComeDuringOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		gate, open := w.gate()
		w.handler.connected = func(k *Call) error { _, err := gate(k, ""); return err }
		c := w.open("a", "")
		c.say(uploading("1", "take", "s"), one("s", 1))
		c.say(one("s", 2), over("s"))
		w.settle()
		assert.Empty(t, c.got())
		open()
		w.settle()
		items, _ := s.of("1/s")
		assert.Equal(t, quoted(1, 2), items)
		assert.Len(t, c.got(), 1)
		c.clean(t)
	})
}

func TestSeveralUploadsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "take", "a", "b"), uploading("2", "take", "c"), uploading("", "take", "d"))
		want := map[string][]any{}
		for i := range 50 {
			for _, id := range []string{"a", "b", "c", "d"}[i%3:] {
				c.say(one(id, i))
				want[id] = append(want[id], i)
			}
		}
		c.say(over("b"), failure("c", "broken"))
		c.say(over("d"), over("a"))
		w.settle()
		for _, key := range []string{"1/a", "1/b", "2/c", "/d"} {
			items, err := s.of(key)
			_, id, _ := strings.Cut(key, "/")
			assert.Equal(t, quoted(want[id]...), items, key)
			if id == "c" {
				assert.Equal(t, &ClientError{Text: "broken"}, err)
			} else {
				assert.Equal(t, io.EOF, err, key)
			}
		}
		assert.ElementsMatch(t, []string{result("1", `"taken"`), result("2", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// What is for no upload, or for one that has ended, is nobody's error.
func TestItemsAndEndsOfNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(one("none", 1), over("none"), failure("none", "x"))
		c.say(uploading("1", "take", "s"), one("s", 1), over("s"), one("s", 2), over("s"), failure("s", "late"))
		c.say(one("s", 3))
		w.settle()
		items, err := s.of("1/s")
		assert.Equal(t, quoted(1), items)
		assert.Equal(t, io.EOF, err)
		c.say(call("2", "echo"))
		w.settle()
		assert.Equal(t, []string{result("1", `"taken"`), result("2", "[]")}, c.got())
		c.clean(t)
	})
}

// The ids of a call are those of its connection.
func TestUploadsOfTwoConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		a, b := w.open("a", ""), w.open("b", "")
		a.say(uploading("1", "take", "s"))
		b.say(uploading("2", "take", "s"))
		a.say(one("s", "a"))
		b.say(one("s", "b"), over("s"))
		a.say(over("s"))
		w.settle()
		for key, want := range map[string]string{"1/s": "a", "2/s": "b"} {
			items, _ := s.of(key)
			assert.Equal(t, quoted(want), items)
		}
		a.clean(t)
		b.clean(t)
	})
}

// An id is free again when its stream has ended, though its call is still to take what has come.
func TestAnIDIsUsedAgainAfterTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"), one("s", 1), one("s", 2), over("s"))
		c.say(uploading("2", "later", "s"), one("s", 3), failure("s", "no more"))
		c.say(uploading("3", "take", "s"), one("s", 4))
		w.pass(soon)
		c.say(one("s", 5), over("s"))
		w.pass(soon)
		items, _ := s.of("3/s")
		assert.Equal(t, quoted(4, 5), items)
		open()
		w.pass(soon)
		items, err := s.of("1/s")
		assert.Equal(t, quoted(1, 2), items)
		assert.Equal(t, io.EOF, err)
		items, err = s.of("2/s")
		assert.Equal(t, quoted(3), items)
		assert.Equal(t, &ClientError{Text: "no more"}, err)
		c.clean(t)
	})
}

// The end of an older call leaves the stream that has its id now alone.
func TestTheEndOfACallLeavesTheNextStreamAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"), over("s"), uploading("2", "take", "s"))
		w.settle()
		open()
		w.settle()
		assert.Equal(t, []string{result("1", `"taken"`)}, c.got())
		c.say(one("s", 1), over("s"))
		w.settle()
		items, _ := s.of("2/s")
		assert.Equal(t, quoted(1), items)
		c.clean(t)
	})
}

func TestIDsThatAreInUse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "take", "s"))
		c.say(uploading("2", "take", "n", "s"), one("n", "x"), one("s", 1))
		c.say(uploading("3", "take", "m", "m"), uploading("4", "take", "n", "m"), one("n", 2), over("n"), over("m"))
		c.say(one("s", 3), over("s"))
		w.settle()
		assert.ElementsMatch(t, []string{failure("2", "taken: s"), failure("3", "taken: m"), result("4", `"taken"`), result("1", `"taken"`)}, c.got())
		items, _ := s.of("1/s")
		assert.Equal(t, quoted(1, 3), items, "the first goes on")
		items, _ = s.of("4/n")
		assert.Equal(t, quoted(2), items)
		c.clean(t)
	})
}
