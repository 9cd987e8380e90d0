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

// callControl adds the hub method "work". A call of it runs until the test ends it, in one of several ways.
type callControl struct {
	mu         sync.Mutex
	startedIDs []string
	running    int
	maxRunning int
	ends       map[string]chan string
	causes     map[string]error
}

func newCallControl(e *env) *callControl {
	c := &callControl{ends: map[string]chan string{}, causes: map[string]error{}}
	e.handler.methods["work"] = func(k *Call, _ string) (any, error) {
		id := string(k.ID())
		end := c.callStarted(id)
		defer c.callEnded()
		var how string
		select {
		case how = <-end:
		case <-e.done:
		}
		c.mu.Lock()
		if k.Err() != nil {
			c.causes[id] = context.Cause(k)
		}
		c.mu.Unlock()
		switch how {
		case "panic":
			panic("test panic")
		case "goexit":
			runtime.Goexit()
		case "fail":
			return nil, errors.New("failed")
		}
		return how, nil
	}
	return c
}

func (c *callControl) callStarted(id string) chan string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startedIDs = append(c.startedIDs, id)
	c.running++
	c.maxRunning = max(c.maxRunning, c.running)
	end := make(chan string, 1)
	c.ends[id] = end
	return end
}

func (c *callControl) callEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
}

func (c *callControl) end(id, how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[id] <- how
}

func (c *callControl) started() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.startedIDs...)
}

// completion returns the completion of a call of "work" that was ended with how.
func completion(id, how string) string {
	switch how {
	case "panic":
		return failure(id, "panic: test panic")
	case "goexit":
		return failure(id, "runtime.Goexit was called")
	case "fail":
		return failure(id, "failed")
	}
	return result(id, strconv.Quote(how))
}

// schedulingTime is long enough for waiting calls to take all free slots. One call starts per lateTickTime.
const schedulingTime = 50 * lateTickTime

// runInCall runs f within a call, on another goroutine than the test's. It returns the call after that has ended.
func (e *env) runInCall(f func(k *Call)) *Call {
	e.t.Helper()
	var ran *Call
	e.handler.methods["f"] = func(k *Call, _ string) (any, error) {
		ran = k
		f(k)
		return nil, nil
	}
	c := e.open("during", "")
	c.send(call("1", "f"))
	e.settle()
	require.Equal(e.t, []string{result("1", "null")}, c.messages(), "the call has returned")
	return ran
}

// runInSecondCall is runInCall on another connection.
func (e *env) runInSecondCall(f func(k *Call)) (ran *Call) {
	e.handler.methods["f"] = func(k *Call, _ string) (any, error) { ran = k; f(k); return nil, nil }
	c := e.open("during2", "")
	c.send(call("1", "f"))
	e.settle()
	return ran
}

// startCall starts a call that runs until its context ends.
func (e *env) startCall(c *client, id string) *Call {
	e.t.Helper()
	var running *Call
	e.handler.methods["hold"] = func(k *Call, _ string) (any, error) {
		running = k
		select {
		case <-k.Done():
		case <-e.done:
		}
		return nil, context.Cause(k)
	}
	c.send(call(id, "hold"))
	e.settle()
	require.NotNil(e.t, running)
	return running
}

// countMethod returns a method that streams the numbers from 0 to n-1, or without end if n is negative.
func countMethod(n int) method {
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

// addFeedMethod adds the hub method "feed", which streams the items that the test passes to feed with the id of the call. A nil item
// ends the stream; "panic" and "goexit" make the method do that.
func (e *env) addFeedMethod() (feed func(id string, items ...any)) {
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
	e.handler.methods["feed"] = func(k *Call, _ string) (any, error) {
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
			case <-e.done:
				return nil, nil
			}
		}
	}
	return func(id string, items ...any) {
		for _, item := range items {
			of(id) <- item
		}
		e.settle()
	}
}

// uploadRecorder records what calls have received from their uploads.
type uploadRecorder struct {
	mu    sync.Mutex
	items map[string][]string // by "call id/stream id"
	ends  map[string]error
}

func (rec *uploadRecorder) get(key string) ([]string, error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.items[key], rec.ends[key]
}

func (rec *uploadRecorder) put(key string, items []string, err error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.items[key], rec.ends[key] = items, err
}

// addTakeMethods adds the hub methods "take", which receives all uploads concurrently, and "later", which does so after open was
// called.
func (e *env) addTakeMethods() (rec *uploadRecorder, open func()) {
	rec = &uploadRecorder{items: map[string][]string{}, ends: map[string]error{}}
	gate, open := e.gate()
	e.handler.methods["take"] = func(k *Call, _ string) (any, error) {
		list, id := k.Uploads()
		if id != "" {
			return nil, errors.New("taken: " + id)
		}
		var all sync.WaitGroup
		for _, u := range list {
			all.Go(func() {
				items, err := drainUpload(u)
				rec.put(string(k.ID())+"/"+u.id, items, err)
			})
		}
		all.Wait()
		return "taken", nil
	}
	e.handler.methods["later"] = func(k *Call, args string) (any, error) {
		_, _ = gate(k, args)
		return e.handler.methods["take"](k, args)
	}
	e.settings.StreamBuffer = 4
	return rec, open
}

// drainUpload returns the items of an upload and the error with which it ended.
func drainUpload(u *Upload) (items []string, err error) {
	for {
		if err := u.Next(func(value []byte) error { items = append(items, string(value)); return nil }); err != nil {
			return items, err
		}
	}
}

// quotedItems returns items in the form in which uploadItem sends them.
func quotedItems(items ...any) (all []string) {
	for _, item := range items {
		all = append(all, fmt.Sprintf(`"%v"`, item))
	}
	return all
}

// askResult is the result of Hub.Invoke on another goroutine.
type askResult struct {
	done  chan struct{}
	value string
	err   error
}

func (a *askResult) isDone() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// askAsync calls Hub.Invoke on another goroutine.
func (e *env) askAsync(ctx context.Context, to *Audience, args ...any) *askResult {
	a := &askResult{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.value, a.err = e.ask(ctx, to, args...)
	}()
	if e.bubble {
		e.settle()
	}
	return a
}

func (e *env) ask(ctx context.Context, to *Audience, args ...any) (value string, err error) {
	err = e.hub.Invoke(ctx, to, "question", args, func(_ hubproto.Protocol, b []byte) error {
		value = string(b)
		if value == `"misfit"` {
			return errors.New("misfit")
		}
		return nil
	})
	return value, err
}

func toConnection(id string) *Audience { return &Audience{Kind: Connections, Names: []string{id}} }

// addAskMethod adds the hub method "ask", which asks its caller and returns the answer.
func (e *env) addAskMethod() {
	e.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
		value, err := e.ask(k, &Audience{Kind: Caller, Conn: k.Connection()})
		return json.RawMessage(value), err
	}
}

// requireNoPendingAsks checks that no Invoke is pending.
func (e *env) requireNoPendingAsks(t require.TestingT) {
	e.hub.results.mu.Lock()
	defer e.hub.results.mu.Unlock()
	require.Empty(t, e.hub.results.waiting)
}

// holdBinding makes calls block before they bind their arguments. Each call of bind releases one of them.
func (e *env) holdBinding() (bind func()) {
	gate := make(chan struct{})
	e.handler.bind = func(*Call) {
		select {
		case <-gate:
		case <-e.done:
		}
	}
	return func() { gate <- struct{}{}; e.settle() }
}
