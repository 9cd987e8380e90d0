package actors

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// scriptedCalls adds the hub methods of TestUploadModel, and records what their calls have received.
type scriptedCalls struct {
	env      *env
	mu       sync.Mutex
	gates    map[string]chan struct{}
	received map[string][]string // by "call id/stream id"
	ends     map[string]error
}

func newScriptedCalls(e *env) *scriptedCalls {
	s := &scriptedCalls{env: e, gates: map[string]chan struct{}{}, received: map[string][]string{}, ends: map[string]error{}}
	for _, how := range []string{"take", "one", "panic", "goexit", "none"} {
		e.handler.methods["now-"+how] = func(k *Call, _ string) (any, error) { return s.run(k, how) }
		e.handler.methods["gate-"+how] = func(k *Call, _ string) (any, error) {
			select {
			case <-s.gate(string(k.ID())):
			case <-e.done:
			}
			return s.run(k, how)
		}
	}
	return s
}

func (s *scriptedCalls) gate(id string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gates[id] == nil {
		s.gates[id] = make(chan struct{})
	}
	return s.gates[id]
}

func (s *scriptedCalls) run(k *Call, how string) (any, error) {
	list, _ := k.Uploads()
	if how == "none" {
		return how, nil
	}
	ended := make(chan struct{}, len(list))
	for _, u := range list {
		go func() {
			for {
				err := u.Next(func(value []byte) error {
					s.mu.Lock()
					defer s.mu.Unlock()
					key := string(k.ID()) + "/" + u.id
					s.received[key] = append(s.received[key], strings.Trim(string(value), `"`))
					return nil
				})
				if err != nil {
					s.mu.Lock()
					s.ends[string(k.ID())+"/"+u.id] = err
					s.mu.Unlock()
				}
				if err != nil || how != "take" {
					ended <- struct{}{}
					return
				}
			}
		}()
	}
	for i := range list {
		if how == "take" || i == 0 { // otherwise the call ends with the first upload that ends
			<-ended
		}
	}
	switch how {
	case "panic":
		panic("no")
	case "goexit":
		runtime.Goexit()
	}
	return how, nil
}

// Calls with and without uploads, items, ends and cancels arrive in any order. A call receives a prefix of the items that were sent,
// in order, and all of them if it receives until the end. All calls are answered, and no resources are leaked.
func TestUploadModel(t *testing.T) {
	type stream struct {
		key  string // "call id/stream id"
		id   string
		sent []string
		over bool
	}
	type work struct {
		id       string
		how      string
		gated    bool
		streams  []*stream
		canceled bool
	}
	inBubble(t, func(t *testing.T, e *env) {
		connection := 0
		e.checkProperty(func(t *rapid.T) {
			s := newScriptedCalls(e)
			connection++
			e.settings.Parallel = rapid.IntRange(1, 3).Draw(t, "limit")
			e.settings.StreamBuffer = rapid.IntRange(1, 4).Draw(t, "buffer")
			e.settings.InboundLimit = rapid.SampledFrom([]int{1, 3 * smallMessageCharge, 1 << 20}).Draw(t, "budget")
			c := e.open(fmt.Sprint("c", connection), "")
			defer c.socket.Cut()
			var calls []*work
			var open []*stream
			used := map[string]bool{} // ids of uploads that have not ended
			item := 0
			send := func(records ...string) { c.sendAsync(records...) }
			end := func(st *stream) {
				open = slices.DeleteFunc(open, func(o *stream) bool { return o == st })
				delete(used, st.id)
				st.over = true
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					e.settle()
					q := &c.conn.calls
					q.mu.Lock()
					defer q.mu.Unlock()
					require.LessOrEqual(t, int(q.slots.taken), e.settings.Parallel)
					require.LessOrEqual(t, c.conn.in.fullUploads, 3*len(calls))
				},
				"call": func(t *rapid.T) {
					k := &work{id: strconv.Itoa(len(calls))}
					k.how = rapid.SampledFrom([]string{"take", "take", "take", "one", "panic", "goexit", "none"}).Draw(t, "how")
					k.gated = rapid.Bool().Draw(t, "gated")
					var ids []string
					for range rapid.IntRange(0, 3).Draw(t, "streams") {
						id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "stream")
						if used[id] {
							continue
						}
						used[id] = true
						st := &stream{key: k.id + "/" + id, id: id}
						k.streams, open, ids = append(k.streams, st), append(open, st), append(ids, id)
					}
					target := "now-" + k.how
					if k.gated {
						target = "gate-" + k.how
					}
					calls = append(calls, k)
					if len(ids) > 0 {
						send(uploadCall(k.id, target, ids...))
					} else {
						send(call(k.id, target))
					}
				},
				"items": func(t *rapid.T) {
					if len(open) == 0 {
						return // no upload is open
					}
					var records []string
					for range rapid.IntRange(1, 6).Draw(t, "items") {
						st := rapid.SampledFrom(open).Draw(t, "stream")
						st.sent = append(st.sent, strconv.Itoa(item))
						records = append(records, uploadItem(st.id, item))
						item++
					}
					if rapid.Bool().Draw(t, "together") {
						send(records...)
						return
					}
					for _, record := range records {
						send(record)
					}
				},
				"end": func(t *rapid.T) {
					if len(open) == 0 {
						return // no upload is open
					}
					st := rapid.SampledFrom(open).Draw(t, "stream")
					end(st)
					if rapid.Bool().Draw(t, "fails") {
						send(failure(st.id, "broken"))
					} else {
						send(uploadEnd(st.id))
					}
				},
				"cancel": func(t *rapid.T) {
					if len(calls) == 0 {
						return // no call can be canceled
					}
					k := rapid.SampledFrom(calls).Draw(t, "call")
					k.canceled = true
					send(cancel(k.id))
				},
				"open": func(t *rapid.T) {
					if len(calls) == 0 {
						return // no call was made
					}
					k := rapid.SampledFrom(calls).Draw(t, "call")
					if k.gated {
						k.gated = false
						close(s.gate(k.id))
					}
				},
			})
			for _, st := range slices.Clone(open) {
				end(st)
				send(uploadEnd(st.id))
			}
			for _, k := range calls {
				if k.gated {
					close(s.gate(k.id))
				}
			}
			e.sleep(schedulingTime)
			answers := map[string]int{}
			for _, record := range c.messages() {
				for _, k := range calls {
					if strings.Contains(record, `"invocationId":"`+k.id+`"`) {
						answers[k.id]++
					}
				}
			}
			for _, k := range calls {
				require.Equal(t, 1, answers[k.id], "answers to %s", k.id)
				for _, st := range k.streams {
					got := s.received[st.key]
					require.LessOrEqual(t, len(got), len(st.sent))
					require.True(t, slices.Equal(st.sent[:len(got)], got), "%s: %q of %q", st.key, got, st.sent)
					if k.how == "take" && !k.canceled {
						require.Len(t, got, len(st.sent), st.key)
						require.NotErrorIs(t, s.ends[st.key], context.Canceled)
					}
				}
			}
			c.requireIdle(t)
		})
	})
}
