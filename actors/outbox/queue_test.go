package outbox

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A queue is a list from which elements can be taken out at the front, out of the middle and by key.
func TestQueueIsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var model []*Packet
		newest := map[string]*Packet{} // by key, of those that wait and were not put back
		forget := func(p *Packet) {
			if newest[p.key] == p {
				delete(newest, p.key)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				p := &Packet{
					key:     rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(t, "key"),
					limited: rapid.Bool().Draw(t, "limited"), policy: rapid.SampledFrom([]Policy{Disconnect, DropOldest, DropNewest}).Draw(t, "policy"),
				}
				if i := q.find(p.key); p.key != "" && i >= 0 {
					require.Same(t, newest[p.key], q.packets[i])
					model = slices.DeleteFunc(model, func(one *Packet) bool { return one == newest[p.key] })
					q.remove(i)
				}
				q.push(p)
				model = append(model, p)
				if p.key != "" {
					newest[p.key] = p
				}
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(0, len(q.packets)).Draw(t, "n")
				taken := slices.DeleteFunc(slices.Clone(q.packets[:n]), func(p *Packet) bool { return p == nil })
				require.Equal(t, model[:len(taken)], taken)
				q.dropFirst(n)
				model = slices.Clone(model[len(taken):])
				for _, p := range taken {
					forget(p)
				}
				if rapid.Bool().Draw(t, "put back") {
					q.putBack(taken)
					model = slices.Concat(taken, model)
				}
			},
			"remove": func(t *rapid.T) {
				if len(model) == 0 {
					return
				}
				p := rapid.SampledFrom(model).Draw(t, "packet")
				q.remove(slices.Index(q.packets, p))
				model = slices.DeleteFunc(model, func(one *Packet) bool { return one == p })
				forget(p)
			},
			"": func(t *rapid.T) {
				left := slices.DeleteFunc(slices.Clone(q.packets), func(p *Packet) bool { return p == nil })
				require.True(t, slices.Equal(model, left))
				require.EqualValues(t, len(q.packets)-len(left), q.holes)
				require.EqualValues(t, q.oldest, len(slices.DeleteFunc(slices.Clone(left), func(p *Packet) bool { return !p.makesRoom() })))
				require.Equal(t, len(model) == 0, q.isEmpty())
				require.LessOrEqual(t, int(q.passed), len(q.packets))
				if q.oldest > 0 && rapid.Bool().Draw(t, "search") {
					require.Equal(t, slices.IndexFunc(q.packets, func(p *Packet) bool { return p != nil && p.makesRoom() }), q.findOldest())
				}
				if len(model) > 0 {
					require.NotNil(t, q.packets[0])
					require.Same(t, model[len(model)-1], q.last())
				}
				for _, key := range []string{"a", "b", "c"} {
					if p := newest[key]; p == nil {
						require.Negative(t, q.find(key), key)
					} else {
						require.Same(t, p, q.packets[q.find(key)])
					}
				}
			},
		})
	})
}

// What newer packets replace leaves no holes for ever.
func TestQueueOfReplacedPacketsStaysShort(t *testing.T) {
	var q queue
	q.push(&Packet{})
	for i := range 10_000 {
		key := fmt.Sprint(i % 3)
		if at := q.find(key); at >= 0 {
			q.remove(at)
		}
		q.push(&Packet{key: key})
	}
	require.Less(t, len(q.packets), 64)
}
