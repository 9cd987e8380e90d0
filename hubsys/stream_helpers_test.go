package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// streamHub is a hub whose methods take and return streams.
type streamHub struct {
	hubsys.Hub
	s *streamState
}

// streamState is shared by a test and the methods of its streamHub.
type streamState struct {
	sys          *hubsys.System
	hub          *hubsys.HubContext
	mu           sync.Mutex
	notes        []string
	done         chan struct{} // closed at the end of the test
	feed         chan int
	holds, held  chan struct{}
	leaked       chan func() // a yield, from an iterator
	readSequence func(ctx context.Context, items iter.Seq2[int, error]) (any, error)
	readChannel  func(ctx context.Context, items <-chan int) (any, error)
}

func (s *streamState) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// newStreamServer serves a streamHub.
func newStreamServer(t *testing.T, options hubsys.HubOptions) (s *streamState, url string) {
	t.Helper()
	s = &streamState{done: make(chan struct{}), feed: make(chan int), holds: make(chan struct{}, 1), held: make(chan struct{}), leaked: make(chan func(), 1)}
	s.sys = newSystem(t, hubsys.Config{})
	hub := register(t, s.sys, func(context.Context) (*streamHub, error) { return &streamHub{s: s}, nil }, options)
	s.hub = hub
	url = serve(t, s.sys, hub)
	t.Cleanup(func() { close(s.done) })
	return s, url
}

type namedSequence iter.Seq2[int, error]

type namedChannel <-chan int

func (*streamHub) Echo(v any) any { return v }

func collect[T any](items iter.Seq2[T, error]) (list []T, err error) {
	for item, err := range items {
		if err != nil {
			return list, err
		}
		list = append(list, item)
	}
	return list, nil
}

func collectChannel[T any](items <-chan T) (list []T) {
	for item := range items {
		list = append(list, item)
	}
	return list
}

// These methods take streams among their parameters.

func (*streamHub) ContextFirst(ctx context.Context, a int, s iter.Seq2[string, error], b string, c <-chan int, d bool) (string, error) {
	var numbers []int
	done := make(chan struct{})
	go func() { defer close(done); numbers = collectChannel(c) }()
	texts, err := collect(s)
	<-done
	return fmt.Sprintf("%v %v %v %v %v %v", a, texts, b, numbers, d, ctx != nil), err
}

func (*streamHub) StreamsFirst(s <-chan point, r iter.Seq2[*point, error], a int) (string, error) {
	var points []point
	done := make(chan struct{})
	go func() { defer close(done); points = collectChannel(s) }()
	more, err := collect(r)
	<-done
	b, _ := json.Marshal(more)
	return fmt.Sprintf("%v %s %v", points, b, a), err
}

func (*streamHub) StreamLast(a, b int, s iter.Seq2[any, error]) (string, error) {
	items, err := collect(s)
	return fmt.Sprintf("%v %v %v", a, b, items), err
}

func (*streamHub) Named(a namedSequence, b namedChannel) (string, error) {
	var more []int
	done := make(chan struct{})
	go func() { defer close(done); more = collectChannel((<-chan int)(b)) }()
	list, err := collect(iter.Seq2[int, error](a))
	<-done
	return fmt.Sprint(list, more), err
}

func (*streamHub) OnlyStream(s <-chan []byte) string { return fmt.Sprintf("%s", collectChannel(s)) }

// These methods return streams.

func (*streamHub) Count(ctx context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := 0; i != n; i++ {
			if ctx.Err() != nil || !yield(i, nil) {
				return
			}
		}
	}
}

func (h *streamHub) Points(n int) <-chan point {
	c := make(chan point)
	go func() {
		defer close(c)
		for i := range n {
			select {
			case c <- point{i, -i}:
			case <-h.s.done:
				return
			}
		}
	}()
	return c
}

func (*streamHub) NamedBack(n int) namedSequence {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (*streamHub) PlainFunc(n int) func(func(int, error) bool) {
	return func(yield func(int, error) bool) { _ = yield(n, nil) && yield(n+1, nil) }
}

func (*streamHub) Texts(list []string) iter.Seq2[string, error] { return listed(list) }
func (*streamHub) Flags(list []bool) iter.Seq2[bool, error]     { return listed(list) }
func (*streamHub) Shorts(list []int32) iter.Seq2[int32, error]  { return listed(list) }
func (*streamHub) Longs(list []int64) <-chan int64              { return filled(list) }
func (*streamHub) Floats(list []float64) <-chan float64         { return filled(list) }
func (*streamHub) Anything(list []any) <-chan any               { return filled(list) }

func listed[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range list {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func filled[T any](list []T) <-chan T {
	c := make(chan T, len(list))
	for _, item := range list {
		c <- item
	}
	close(c)
	return c
}

// LeaksYield lets YieldAgain yield when its stream is over.
func (h *streamHub) LeaksYield() iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		h.s.leaked <- func() { yield(1, nil) }
		yield(0, nil)
	}
}

// LeaksPoints is LeaksYield with items that are read by reflection.
func (h *streamHub) LeaksPoints() iter.Seq2[point, error] {
	return func(yield func(point, error) bool) {
		h.s.leaked <- func() { yield(point{1, 1}, nil) }
		yield(point{0, 0}, nil)
	}
}

func (h *streamHub) YieldAgain() (panicked bool) {
	defer func() { panicked = recover() != nil }()
	(<-h.s.leaked)()
	return
}

func (h *streamHub) Never() <-chan int { return h.s.feed }

func (h *streamHub) NeverNamed() namedChannel { return h.s.feed }

func (*streamHub) NilChannel() <-chan int { return nil }

func (*streamHub) NilSequence() (iter.Seq2[int, error], error) { return nil, nil }

func (*streamHub) StreamAndError(text string) (<-chan int, error) {
	c := make(chan int)
	close(c)
	if text == "" {
		return c, nil
	}
	return c, errors.New(text)
}

func (*streamHub) Fails(after int, how string) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range after {
			if !yield(i, nil) {
				return
			}
		}
		switch how {
		case "error":
			yield(0, errors.New("secret"))
		case "hub":
			yield(0, fmt.Errorf("wrapped: %w", hubsys.Errorf("for you")))
		case "panic":
			panic("secret")
		case "panic hub":
			panic(hubsys.Errorf("for you"))
		case "goexit":
			runtime.Goexit()
		case "canceled": // without a cancel of the client
			yield(0, context.Canceled)
		}
	}
}

func (*streamHub) Unencodable(n int) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		_ = yield(n, nil) && yield(func() {}, nil) && yield(n, nil)
	}
}

func (*streamHub) Rude() iter.Seq2[misbehavingJSON, error] {
	return func(yield func(misbehavingJSON, error) bool) { yield("panic", nil) }
}

func (h *streamHub) Cleanup(ctx context.Context) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		defer h.s.note("cleaned up")
		for i := 0; ; i++ {
			select {
			case n := <-h.s.feed:
				if !yield(n, nil) {
					return
				}
			case <-ctx.Done():
				yield(0, context.Cause(ctx))
				return
			}
		}
	}
}

// Returns returns its items until its context ends, without an error.
func (h *streamHub) Returns(ctx context.Context) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for {
			select {
			case n := <-h.s.feed:
				if !yield(n, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// NeverReturns fails before it has a stream, when its context ends.
func (h *streamHub) NeverReturns(ctx context.Context) (iter.Seq2[int, error], error) {
	<-h.s.feed
	<-ctx.Done()
	return nil, ctx.Err()
}

func (h *streamHub) ReturnsPoints(ctx context.Context) iter.Seq2[point, error] {
	return func(yield func(point, error) bool) {
		for n := range h.Returns(ctx) {
			if !yield(point{n, n}, nil) {
				return
			}
		}
	}
}

// Hold runs until the test lets it return.
func (h *streamHub) Hold() {
	h.s.holds <- struct{}{}
	<-h.s.held
}

// These methods take and return streams.

func (*streamHub) EchoSequence(items iter.Seq2[point, error]) iter.Seq2[point, error] { return items }

func (*streamHub) EchoChannel(items <-chan point) <-chan point { return items }

// LateEcho returns its upload after the upload has failed.
func (*streamHub) LateEcho(ctx context.Context, items <-chan int) <-chan int {
	<-ctx.Done()
	collectChannel(items)
	return items
}

func (*streamHub) Double(ctx context.Context, items <-chan int, by int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for item := range items {
			if !yield(item*by, nil) {
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(0, err)
		}
	}
}

// These methods call a function of the test.

func (h *streamHub) Take(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
	return h.s.readSequence(ctx, items)
}

func (h *streamHub) TakeChannel(ctx context.Context, items <-chan int) (any, error) {
	return h.s.readChannel(ctx, items)
}

// misbehavingJSON is a value whose UnmarshalJSON fails as the value says.
type misbehavingJSON string

func (r *misbehavingJSON) UnmarshalJSON(b []byte) error {
	*r = misbehavingJSON(strings.Trim(string(b), `"`))
	return r.behave()
}

func (r misbehavingJSON) MarshalJSON() ([]byte, error) { return json.Marshal(string(r)) }

func (r misbehavingJSON) behave() error {
	switch r {
	case "panic":
		panic("secret")
	case "goexit":
		runtime.Goexit()
	case "error":
		return errors.New("secret")
	case "hub":
		return hubsys.Errorf("for you")
	}
	return nil
}

func (*streamHub) RudeSequence(items iter.Seq2[misbehavingJSON, error]) (string, error) {
	list, err := collect(items)
	return fmt.Sprint(list), err
}

func (*streamHub) RudeChannel(ctx context.Context, items <-chan misbehavingJSON) (string, error) {
	list := collectChannel(items)
	return fmt.Sprint(list), context.Cause(ctx)
}

func streamInvocation(id, method string, streams []string, args ...any) string {
	return withStreams(strings.Replace(invocation(id, method, args...), `"type":1`, `"type":4`, 1), streams)
}

func uploadInvocation(id, method string, streams []string, args ...any) string {
	return withStreams(invocation(id, method, args...), streams)
}

func withStreams(record string, streams []string) string {
	if len(streams) == 0 {
		return record
	}
	b, _ := json.Marshal(streams)
	return strings.TrimSuffix(record, "}") + `,"streamIds":` + string(b) + "}"
}

// streamItem returns an item of a stream as JSON.
func streamItem(stream string, value any) string {
	b, _ := json.Marshal(value)
	return fmt.Sprintf(`{"type":2,"invocationId":%q,"item":%s}`, stream, b)
}

// completion returns the message that ends a stream.
func completion(stream string) string { return fmt.Sprintf(`{"type":3,"invocationId":%q}`, stream) }

func errorCompletion(stream, text string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"error":%q}`, stream, text)
}

func cancelInvocation(id string) string { return fmt.Sprintf(`{"type":5,"invocationId":%q}`, id) }

func resultCompletion(id string, result any) string {
	b, _ := json.Marshal(result)
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"result":%s}`, id, b)
}

// requireMessages requires that these are the next messages.
func (c *testClient) requireMessages(records ...string) {
	c.t.Helper()
	for _, want := range records {
		require.Equal(c.t, want, c.next().raw)
	}
}

const (
	invocationErrorFormat = "An unexpected error occurred invoking '%s' on the server."
	streamErrorText       = "An error occurred on the server while streaming results."
)
