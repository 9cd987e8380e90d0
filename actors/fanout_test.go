package actors

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/actors/outbox"
)

// Connections join and leave a group, and join it again, while a message is on its way to many members. Each that was a member before and has not
// left gets it once; one that has left gets nothing behind that, and one that has joined since gets nothing.
func TestMembersComeAndGoDuringAFanOut(t *testing.T) {
	for _, everyone := range []bool{false, true} {
		t.Run(fmt.Sprint("everyone ", everyone), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := &Hub{sys: &System{counts: newCounts()}}
				g := &group{watchers: &watchers{}, everyone: everyone}
				flusher := outbox.NewFlusher(nil, nil, slog.New(slog.DiscardHandler), nil)
				type member struct {
					*Connection
					before, stayed bool // when the fan-out began; since then
					gone           int  // what it had when it left
				}
				var all []*member
				add := func(before bool) {
					c := bareConnection(fmt.Sprint(len(all)))
					c.out.Init((*boxOwner)(c), flusher, 1<<20, 1)
					require.True(t, g.join(c))
					all = append(all, &member{Connection: c, before: before, stayed: before})
				}
				pending := func(m *member) int { n, _ := m.out.Pending(); return n }
				for range rapid.IntRange(1, 3*pushAtOnce).Draw(t, "members") {
					add(true)
				}
				m := &message{hub: h, encoded: 1}
				m.packets[0] = outbox.NewPacket(outbox.Buffer(8), 1, true)
				var s outbox.Sending
				inside := func(m *member) bool { return g.find(m.Connection) >= 0 }
				done, more := g.pushSome(m, nil, &s, false)
				require.True(t, done)
				for more {
					for range rapid.IntRange(0, pushAtOnce).Draw(t, "changes") {
						one := all[rapid.IntRange(0, len(all)-1).Draw(t, "member")]
						switch {
						case rapid.IntRange(0, 3).Draw(t, "change") == 0:
							add(false)
						case inside(one):
							g.leave(one.Connection)
							one.stayed, one.gone = false, pending(one)
						case !g.emptied:
							require.True(t, g.join(one.Connection))
						}
						if g.emptied {
							break
						}
					}
					done, more = g.pushSome(m, nil, &s, true)
					require.True(t, done)
				}
				const once = 64 // what a packet is charged besides its bytes
				for i, one := range all {
					switch {
					case one.stayed:
						require.Equal(t, once, pending(one), i)
					case one.before:
						require.Equal(t, one.gone, pending(one), i)
					default:
						require.Zero(t, pending(one), i)
					}
				}
				for i, c := range g.members {
					require.Equal(t, i, g.find(c))
				}
			})
		})
	}
}
