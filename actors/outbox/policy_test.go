package outbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// pushes pushes numbered packets of a policy, and returns the last result.
func pushes(b *testBox, first, end int, policy Policy, key string) (last Result) {
	for i := first; i < end; i++ {
		last = b.Push(note(0, i, 100).WithPolicy(policy, key), false, false)
	}
	return last
}

// waitingIn returns the numbers of the packets that wait.
func waitingIn(t *testing.T, b *testBox) (all []int) {
	for _, p := range b.queue.packets {
		if p != nil {
			all = append(all, numbers(t, recordsOf(t, p))[0]...)
		}
	}
	return all
}

// recordsOf returns the messages of a packet.
func recordsOf(t *testing.T, p *Packet) []string {
	records, err := linktest.Frame{Payload: p.b[wsframe.Room:]}.Records()
	require.NoError(t, err)
	return records
}

// A box at its limit drops what the policies of packets allow it to drop.
func TestPolicyAtTheLimit(t *testing.T) {
	charge := note(0, 10, 100).charge()
	boxOfTen := func(t *testing.T) *testBox {
		return newEnv(t).box(10 * charge)
	}
	t.Run("the oldest ones", func(t *testing.T) {
		b := boxOfTen(t)
		assert.NotEqual(t, Skipped, pushes(b, 10, 35, DropOldest, ""))
		assert.Equal(t, []int{25, 26, 27, 28, 29, 30, 31, 32, 33, 34}, waitingIn(t, b))
		assert.Equal(t, Drops{15, 0, 0}, b.flusher.Drops())
		assert.True(t, b.Progress().Dropped)
	})
	t.Run("the newest ones", func(t *testing.T) {
		b := boxOfTen(t)
		assert.Equal(t, Skipped, pushes(b, 10, 35, DropNewest, ""))
		assert.Equal(t, []int{10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, waitingIn(t, b))
		assert.Equal(t, Drops{0, 15, 0}, b.flusher.Drops())
	})
	t.Run("those that a newer one replaces, at any time", func(t *testing.T) {
		b := boxOfTen(t)
		pushes(b, 10, 12, Disconnect, "")
		pushes(b, 20, 40, Disconnect, "key")
		pushes(b, 50, 51, Disconnect, "other")
		pushes(b, 60, 61, Disconnect, "")
		pushes(b, 70, 71, Disconnect, "key")
		assert.Equal(t, []int{10, 11, 50, 60, 70}, waitingIn(t, b))
		assert.Equal(t, Drops{0, 0, 20}, b.flusher.Drops())
		assert.False(t, b.Progress().Dropped)
	})
	t.Run("one that does not fit replaces nothing", func(t *testing.T) {
		b := boxOfTen(t)
		pushes(b, 10, 11, DropNewest, "key")
		pushes(b, 20, 29, Disconnect, "")
		assert.Equal(t, Skipped, b.Push(note(0, 30, 200).WithPolicy(DropNewest, "key"), false, false))
		assert.Equal(t, []int{10, 20, 21, 22, 23, 24, 25, 26, 27, 28}, waitingIn(t, b))
		assert.NotEqual(t, Skipped, pushes(b, 40, 41, DropNewest, "key"), "it has the room of the one that it replaces")
		assert.Equal(t, []int{20, 21, 22, 23, 24, 25, 26, 27, 28, 40}, waitingIn(t, b))
		assert.Equal(t, Drops{0, 1, 1}, b.flusher.Drops())
	})
	t.Run("what may be dropped makes room for what may not", func(t *testing.T) {
		b := boxOfTen(t)
		pushes(b, 10, 13, Disconnect, "")
		pushes(b, 20, 23, DropOldest, "")
		pushes(b, 30, 33, DropNewest, "")
		pushes(b, 40, 44, Disconnect, "")
		assert.Equal(t, []int{10, 11, 12, 30, 31, 32, 40, 41, 42, 43}, waitingIn(t, b))
		assert.Equal(t, Overflow, pushes(b, 50, 51, Disconnect, ""))
	})
	t.Run("replies and direct sends are not dropped", func(t *testing.T) {
		b := boxOfTen(t)
		b.Reply(text(0, 10, 0), false)
		b.Push(answer(0, 11, 100).WithPolicy(DropOldest, ""), false, false)
		pushes(b, 12, 40, DropOldest, "")
		assert.Equal(t, append([]int{10, 11}, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39), waitingIn(t, b))
	})
}

// A box whose peer has held senders for long enough drops packets instead of being sealed, as the policy of the sends says.
func TestPolicyOfSendersThatWait(t *testing.T) {
	for name, policy := range map[string]Policy{"oldest": DropOldest, "newest": DropNewest} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				fast, _ := e.boxOver(1 << 10)
				other, _ := e.boxOver(1 << 10)
				slow, s := e.boxOver(1 << 10)
				fill(s)
				for i := range 200 {
					sending := Sending{Waits: true, Policy: policy}
					for _, b := range []*testBox{fast, other, slow} {
						sending.Push(&b.Box, note(0, i, 100).WithPolicy(policy, ""), true)
					}
					sending.Finish(t.Context())
				}
				assert.False(t, slow.hasOverflowed())
				_, limited := slow.Pending()
				assert.LessOrEqual(t, limited, mostOver<<10)
				waiting := waitingIn(t, slow)
				if assert.NotEmpty(t, waiting) && policy == DropOldest {
					assert.Equal(t, 199, waiting[len(waiting)-1])
				}
			})
		})
	}
}
