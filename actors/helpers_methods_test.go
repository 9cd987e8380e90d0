package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// crew is a hub whose calls end when a test says so, and how.
type crew struct {
	mu      sync.Mutex
	started []string
	running int
	most    int
	ends    map[string]chan string
	causes  map[string]error
}

func newCrew(w *world) *crew {
	c := &crew{ends: map[string]chan string{}, causes: map[string]error{}}
	w.handler.methods["work"] = func(k *Call, _ string) (any, error) {
		id := string(k.ID())
		end := c.begin(id)
		defer c.done()
		var how string
		select {
		case how = <-end:
		case <-w.over:
		}
		c.mu.Lock()
		if k.Err() != nil {
			c.causes[id] = context.Cause(k)
		}
		c.mu.Unlock()
		switch how {
		case "panic":
			panic("at the disco")
		case "goexit":
			runtime.Goexit()
		case "fail":
			return nil, errors.New("failed")
		}
		return how, nil
	}
	return c
}

func (c *crew) begin(id string) chan string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = append(c.started, id)
	c.running++
	c.most = max(c.most, c.running)
	end := make(chan string, 1)
	c.ends[id] = end
	return end
}

func (c *crew) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
}

func (c *crew) end(id, how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[id] <- how
}

func (c *crew) starts() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.started...)
}

// completion is what a call that has ended in some way is answered with.
func completion(id, how string) string {
	switch how {
	case "panic":
		return failure(id, "panic: at the disco")
	case "goexit":
		return failure(id, "runtime.Goexit was called")
	case "fail":
		return failure(id, "failed")
	}
	return result(id, strconv.Quote(how))
}

// soon is when calls that wait have got all the slots that are free: one begins each millisecond.
const soon = 50 * lateTime

// during runs f in a call, beside the goroutine that the test is on, and returns the call when f has returned.
func (w *world) during(f func(k *Call)) *Call {
	w.t.Helper()
	var ran *Call
	w.handler.methods["f"] = func(k *Call, _ string) (any, error) {
		ran = k
		f(k)
		return nil, nil
	}
	c := w.open("during", "")
	c.say(call("1", "f"))
	w.settle()
	require.Equal(w.t, []string{result("1", "null")}, c.got(), "the call has returned")
	return ran
}

// during2 is during on another connection.
func (w *world) during2(f func(k *Call)) (ran *Call) {
	w.handler.methods["f"] = func(k *Call, _ string) (any, error) { ran = k; f(k); return nil, nil }
	c := w.open("during2", "")
	c.say(call("1", "f"))
	w.settle()
	return ran
}

// start starts a call that runs until its context ends.
func (w *world) start(c *client, id string) *Call {
	w.t.Helper()
	var running *Call
	w.handler.methods["hold"] = func(k *Call, _ string) (any, error) {
		running = k
		select {
		case <-k.Done():
		case <-w.over:
		}
		return nil, context.Cause(k)
	}
	c.say(call(id, "hold"))
	w.settle()
	require.NotNil(w.t, running)
	return running
}

// counting is a method that streams numbers until there are n, or nobody wants more; n < 0: for ever.
func counting(n int) method {
	return func(k *Call, _ string) (any, error) {
		if k.DuplicateID() {
			return nil, fmt.Errorf("in use: %s", k.ID())
		}
		k.StartStream()
		for i := 0; i != n; i++ {
			b, err := k.Connection().Protocol().AppendItem(nil, k.ID(), i)
			if err != nil {
				return nil, err
			}
			if !k.SendItem(b) {
				return nil, context.Cause(k)
			}
		}
		return "all", nil
	}
}

// feeding is a method that streams what it is given by its id.
func (w *world) feeding() (feed func(id string, items ...any)) {
	var mu sync.Mutex
	feeds := map[string]chan any{}
	of := func(id string) chan any {
		mu.Lock()
		defer mu.Unlock()
		if feeds[id] == nil {
			feeds[id] = make(chan any, 100)
		}
		return feeds[id]
	}
	w.handler.methods["feed"] = func(k *Call, _ string) (any, error) {
		if k.DuplicateID() {
			return nil, fmt.Errorf("in use: %s", k.ID())
		}
		k.StartStream()
		items := of(string(k.ID()))
		for {
			select {
			case item := <-items:
				switch item {
				case nil:
					return nil, nil
				case "panic":
					panic("no")
				case "goexit":
					runtime.Goexit()
				}
				b, _ := k.Connection().Protocol().AppendItem(nil, k.ID(), item)
				if !k.SendItem(b) {
					return nil, context.Cause(k)
				}
			case <-k.Done():
				return nil, context.Cause(k)
			case <-w.over:
				return nil, nil
			}
		}
	}
	return func(id string, items ...any) {
		for _, item := range items {
			of(id) <- item
		}
		w.settle()
	}
}

// taken is what a call has got from its uploads.
type taken struct {
	mu    sync.Mutex
	items map[string][]string // by the ids of call and stream
	ends  map[string]error
}

func (s *taken) of(key string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[key], s.ends[key]
}

func (s *taken) put(key string, items []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[key], s.ends[key] = items, err
}

// taking adds methods: "take" takes everything from all streams at once, "later" waits for its gate before.
func (w *world) taking() (s *taken, open func()) {
	s = &taken{items: map[string][]string{}, ends: map[string]error{}}
	gate, open := w.gate()
	w.handler.methods["take"] = func(k *Call, _ string) (any, error) {
		list, id := k.Uploads()
		if id != "" {
			return nil, errors.New("taken: " + id)
		}
		var all sync.WaitGroup
		for _, u := range list {
			all.Go(func() {
				items, err := take(u)
				s.put(string(k.ID())+"/"+u.id, items, err)
			})
		}
		all.Wait()
		return "taken", nil
	}
	w.handler.methods["later"] = func(k *Call, args string) (any, error) {
		_, _ = gate(k, args)
		return w.handler.methods["take"](k, args)
	}
	w.settings.StreamBuffer = 4
	return s, open
}

// take gives the items of an upload until it ends, and why it did.
func take(u *Upload) (items []string, err error) {
	for {
		if err := u.Next(func(value []byte) error { items = append(items, string(value)); return nil }); err != nil {
			return items, err
		}
	}
}

// quoted is items as a client sends them.
func quoted(items ...any) (all []string) {
	for _, item := range items {
		all = append(all, fmt.Sprintf(`"%v"`, item))
	}
	return all
}

// asked is the outcome of a call of a client's method.
type asked struct {
	over  chan struct{}
	value string
	err   error
}

func (a *asked) done() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}

// ask asks on a goroutine of its own.
func (w *world) ask(ctx context.Context, to *Audience, args ...any) *asked {
	a := &asked{over: make(chan struct{})}
	go func() {
		defer close(a.over)
		a.value, a.err = w.askFor(ctx, to, args...)
	}()
	if w.bubble {
		w.settle()
	}
	return a
}

func (w *world) askFor(ctx context.Context, to *Audience, args ...any) (value string, err error) {
	err = w.hub.Ask(ctx, to, "question", args, func(_ hubproto.Protocol, b []byte) error {
		value = string(b)
		if value == `"misfit"` {
			return errors.New("misfit")
		}
		return nil
	})
	return value, err
}

func the(id string) *Audience { return &Audience{Kind: Connections, Names: []string{id}} }

// asking adds a method that asks its own client and returns the answer.
func (w *world) asking() {
	w.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
		value, err := w.askFor(k, &Audience{Kind: Caller, Conn: k.Connection()})
		return json.RawMessage(value), err
	}
}

// unasked checks that nobody waits for clients.
func (w *world) unasked(t require.TestingT) {
	w.hub.results.mu.Lock()
	defer w.hub.results.mu.Unlock()
	require.Empty(t, w.hub.results.waiting)
}

// unbound lets calls wait with their arguments until they are let go, one at a time.
func (w *world) unbound() (bind func()) {
	gate := make(chan struct{})
	w.handler.bind = func(*Call) {
		select {
		case <-gate:
		case <-w.over:
		}
	}
	return func() { gate <- struct{}{}; w.settle() }
}
