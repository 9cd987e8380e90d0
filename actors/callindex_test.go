package actors

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Calls with few ids come, begin in their order, end in any order and are canceled: the index of the run queue finds the same ones as a search.
func TestCallIndexFindsWhatASearchFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := runQueue{open: true, slots: slots{limit: 1 << 20}}
		conn := bareConnection("c")
		var waiting, running []*Call
		ids := rapid.SampledFrom([]string{"", "a", "b", "c"})
		of := func(id string) (calls []*Call) {
			for _, k := range slices.Concat(running, waiting) {
				if string(k.id) == id {
					calls = append(calls, k)
				}
			}
			return calls
		}
		t.Repeat(map[string]func(*rapid.T){
			"come": func(t *rapid.T) {
				for range rapid.IntRange(1, indexFrom).Draw(t, "calls") {
					k := &Call{conn: conn, id: []byte(ids.Draw(t, "id"))}
					k.wantsStream = len(k.id) > 0 && rapid.Bool().Draw(t, "stream")
					require.True(t, q.add(k, nil))
					waiting = append(waiting, k)
				}
			},
			"begin": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				k := waiting[0]
				duplicate := k.wantsStream && slices.ContainsFunc(running, func(one *Call) bool { return one.wantsStream && string(one.id) == string(k.id) })
				require.Same(t, k, q.begin())
				require.Equal(t, duplicate, k.duplicateID)
				running, waiting = append(running, k), waiting[1:]
			},
			"end": func(t *rapid.T) {
				if len(running) == 0 {
					return
				}
				i := rapid.IntRange(0, len(running)-1).Draw(t, "call")
				q.forget(running[i])
				q.release(running[i])
				running = slices.Delete(running, i, i+1)
			},
			"cancel": func(t *rapid.T) {
				id := ids.Filter(func(id string) bool { return id != "" }).Draw(t, "id")
				q.cancel([]byte(id))
				for _, k := range of(id) {
					require.ErrorIs(t, k.cause, ErrCanceled)
				}
			},
			"drop": func(t *rapid.T) {
				if q.byID = nil; rapid.Bool().Draw(t, "make again") { // as if calls that wait had been dropped
					q.makeIndex()
				}
			},
			"": func(t *rapid.T) {
				if q.byID == nil {
					return
				}
				found := 0
				for id, first := range q.byID {
					for k := first; k != nil; k = k.later {
						require.Equal(t, id, string(k.id))
						found++
					}
				}
				require.Equal(t, len(running)+len(waiting)-len(of("")), found)
			},
		})
	})
}
