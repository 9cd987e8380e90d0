package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// studio is a hub of streams.
type studio struct {
	hubsys.Hub
	s *stage
}

// stage is what the methods of a studio share with their test.
type stage struct {
	sys   *hubsys.System
	mu    sync.Mutex
	notes []string
	over  chan struct{} // closed at the end of the test
	feed  chan int
	do    func(ctx context.Context, items iter.Seq2[int, error]) (any, error)
	chans func(ctx context.Context, items <-chan int) (any, error)
}

func (s *stage) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// newStage serves a studio.
func newStage(t *testing.T, options hubsys.HubOptions) (s *stage, url string) {
	t.Helper()
	s = &stage{over: make(chan struct{}), feed: make(chan int)}
	s.sys = newSystem(t, hubsys.Config{})
	hub := register(t, s.sys, func(context.Context) (*studio, error) { return &studio{s: s}, nil }, options)
	url = serve(t, s.sys, hub)
	t.Cleanup(func() { close(s.over) })
	return s, url
}

type numbers iter.Seq2[int, error]

type readings <-chan int

func (*studio) Echo(v any) any { return v }

func all[T any](items iter.Seq2[T, error]) (list []T, err error) {
	for item, err := range items {
		if err != nil {
			return list, err
		}
		list = append(list, item)
	}
	return list, nil
}

func drain[T any](items <-chan T) (list []T) {
	for item := range items {
		list = append(list, item)
	}
	return list
}

// Parameters in every order.

func (*studio) ContextFirst(ctx context.Context, a int, s iter.Seq2[string, error], b string, c <-chan int, d bool) (string, error) {
	var numbers []int
	done := make(chan struct{})
	go func() { defer close(done); numbers = drain(c) }()
	texts, err := all(s)
	<-done
	return fmt.Sprintf("%v %v %v %v %v %v", a, texts, b, numbers, d, ctx != nil), err
}

func (*studio) StreamsFirst(s <-chan point, r iter.Seq2[*point, error], a int) (string, error) {
	var points []point
	done := make(chan struct{})
	go func() { defer close(done); points = drain(s) }()
	more, err := all(r)
	<-done
	b, _ := json.Marshal(more)
	return fmt.Sprintf("%v %s %v", points, b, a), err
}

func (*studio) StreamLast(a, b int, s iter.Seq2[any, error]) (string, error) {
	items, err := all(s)
	return fmt.Sprintf("%v %v %v", a, b, items), err
}

func (*studio) Named(a numbers, b readings) (string, error) {
	var more []int
	done := make(chan struct{})
	go func() { defer close(done); more = drain((<-chan int)(b)) }()
	list, err := all(iter.Seq2[int, error](a))
	<-done
	return fmt.Sprint(list, more), err
}

func (*studio) OnlyStream(s <-chan []byte) string { return fmt.Sprintf("%s", drain(s)) }

// Streams back.

func (*studio) Count(ctx context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := 0; i != n; i++ {
			if ctx.Err() != nil || !yield(i, nil) {
				return
			}
		}
	}
}

func (h *studio) Points(n int) <-chan point {
	c := make(chan point)
	go func() {
		defer close(c)
		for i := range n {
			select {
			case c <- point{i, -i}:
			case <-h.s.over:
				return
			}
		}
	}()
	return c
}

func (*studio) NamedBack(n int) numbers {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (h *studio) Never() <-chan int { return h.s.feed }

func (h *studio) NeverNamed() readings { return h.s.feed }

func (*studio) NilChannel() <-chan int { return nil }

func (*studio) NilSequence() (iter.Seq2[int, error], error) { return nil, nil }

func (*studio) StreamAndError(text string) (<-chan int, error) {
	c := make(chan int)
	close(c)
	if text == "" {
		return c, nil
	}
	return c, errors.New(text)
}

func (*studio) Fails(after int, how string) iter.Seq2[int, error] {
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
		case "canceled": // though nobody has canceled
			yield(0, context.Canceled)
		}
	}
}

func (*studio) Unencodable(n int) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		_ = yield(n, nil) && yield(func() {}, nil) && yield(n, nil)
	}
}

func (*studio) Rude() iter.Seq2[rude, error] {
	return func(yield func(rude, error) bool) { yield("panic", nil) }
}

func (h *studio) Cleanup(ctx context.Context) iter.Seq2[int, error] {
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

// Both ways.

func (*studio) EchoSequence(items iter.Seq2[point, error]) iter.Seq2[point, error] { return items }

func (*studio) EchoChannel(items <-chan point) <-chan point { return items }

// LateEcho returns when its upload has failed.
func (*studio) LateEcho(ctx context.Context, items <-chan int) <-chan int {
	<-ctx.Done()
	drain(items)
	return items
}

func (*studio) Double(ctx context.Context, items <-chan int, by int) iter.Seq2[int, error] {
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

// What a test wants.

func (h *studio) Take(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
	return h.s.do(ctx, items)
}

func (h *studio) TakeChannel(ctx context.Context, items <-chan int) (any, error) {
	return h.s.chans(ctx, items)
}

// rude is decoded and encoded by code that may misbehave.
type rude string

func (r *rude) UnmarshalJSON(b []byte) error {
	*r = rude(strings.Trim(string(b), `"`))
	return r.behave()
}

func (r rude) MarshalJSON() ([]byte, error) { return json.Marshal(string(r)) }

func (r rude) behave() error {
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

func (*studio) RudeSequence(items iter.Seq2[rude, error]) (string, error) {
	list, err := all(items)
	return fmt.Sprint(list), err
}

func (*studio) RudeChannel(ctx context.Context, items <-chan rude) (string, error) {
	list := drain(items)
	return fmt.Sprint(list), context.Cause(ctx)
}

// ---- the wire

func streaming(id, method string, streams []string, args ...any) string {
	return withStreams(strings.Replace(invocation(id, method, args...), `"type":1`, `"type":4`, 1), streams)
}

func uploading(id, method string, streams []string, args ...any) string {
	return withStreams(invocation(id, method, args...), streams)
}

func withStreams(record string, streams []string) string {
	if len(streams) == 0 {
		return record
	}
	b, _ := json.Marshal(streams)
	return strings.TrimSuffix(record, "}") + `,"streamIds":` + string(b) + "}"
}

// part is an item of a stream.
func part(stream string, value any) string {
	b, _ := json.Marshal(value)
	return fmt.Sprintf(`{"type":2,"invocationId":%q,"item":%s}`, stream, b)
}

// over ends a stream, as clients and the server do.
func over(stream string) string { return fmt.Sprintf(`{"type":3,"invocationId":%q}`, stream) }

func broken(stream, text string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"error":%q}`, stream, text)
}

func cancel(id string) string { return fmt.Sprintf(`{"type":5,"invocationId":%q}`, id) }

func value(id string, result any) string {
	b, _ := json.Marshal(result)
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"result":%s}`, id, b)
}

// reads makes sure that these are the next records.
func (c *client) reads(records ...string) {
	c.t.Helper()
	for _, want := range records {
		require.Equal(c.t, want, c.next().raw)
	}
}

const (
	failedText    = "An unexpected error occurred invoking '%s' on the server."
	streamingText = "An error occurred on the server while streaming results."
)

// ---- uploads

func TestParametersAndStreamsInAnyOrder(t *testing.T) {
	_, url := newStage(t, hubsys.HubOptions{})
	for _, test := range []struct {
		method  string
		streams []string
		args    []any
		send    []string
		result  string
	}{
		{"ContextFirst", []string{"s", "c"}, []any{1, "b", true}, []string{part("c", 1), part("s", "x"), part("c", 2), part("s", "y"), over("c"), over("s")}, "1 [x y] b [1 2] true true"},
		{"ContextFirst", []string{"c", "s"}, []any{1, "b", false}, []string{part("s", 1), over("c"), over("s")}, "1 [] b [1] false true"},
		{"StreamsFirst", []string{"a", "b"}, []any{3}, []string{part("a", point{1, 2}), part("b", nil), part("a", map[string]int{"x": 3}), part("b", point{4, 5}), over("b"), over("a")}, `[{1 2} {3 0}] [null,{"X":4,"Y":5}] 3`},
		{"StreamLast", []string{"s"}, []any{1, 2}, []string{part("s", "x"), part("s", 1.5), part("s", []int{1}), over("s")}, "1 2 [x 1.5 [1]]"},
		{"Named", []string{"1", "2"}, []any{}, []string{part("1", 1), part("2", 2), over("2"), over("1")}, "[1] [2]"},
		{"OnlyStream", []string{"s"}, []any{}, []string{part("s", []byte("a")), part("s", []byte("b")), over("s")}, "[a b]"},
	} {
		t.Run(test.method, func(t *testing.T) {
			c := dial(t, url)
			for _, apart := range []bool{false, true} {
				records := append([]string{uploading("1", test.method, test.streams, test.args...)}, test.send...)
				if apart {
					for _, record := range records {
						c.send(record)
					}
				} else {
					c.send(records...)
				}
				c.reads(value("1", test.result))
			}
		})
	}
}

func TestNumbersOfStreamsThatDoNotFit(t *testing.T) {
	_, url := newStage(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, test := range []struct{ send, want string }{
		{invocation("1", "OnlyStream"), broken("1", fmt.Sprintf(failedText, "OnlyStream")+" HubException: Client sent 0 stream(s), Hub method expects 1.")},
		{uploading("1", "OnlyStream", []string{"a", "b"}), broken("1", fmt.Sprintf(failedText, "OnlyStream")+" HubException: Client sent 2 stream(s), Hub method expects 1.")},
		{uploading("1", "Echo", []string{"a"}, 1), broken("1", fmt.Sprintf(failedText, "Echo")+" HubException: Client sent 1 stream(s), Hub method expects 0.")},
		{uploading("1", "Named", []string{"a", "a"}), broken("1", fmt.Sprintf(failedText, "Named")+" HubException: Stream ID 'a' is already in use.")},
		{uploading("1", "OnlyStream", []string{"a"}, 1), broken("1", "Failed to invoke 'OnlyStream' due to an error on the server.")},
		{uploading("1", "NoSuch", []string{"a"}), broken("1", "Failed to invoke 'NoSuch' due to an error on the server. HubException: Method does not exist.")},
		{streaming("1", "OnlyStream", []string{"a"}), broken("1", "The client attempted to invoke the non-streaming 'OnlyStream' method with a streaming invocation.")},
		{uploading("1", "EchoChannel", []string{"a"}), broken("1", "The client attempted to invoke the streaming 'EchoChannel' method with a non-streaming invocation.")},
	} {
		c.send(test.send, part("a", 1), over("a"))
		c.reads(test.want)
	}
	c.send(uploading("1", "OnlyStream", []string{"s"}), uploading("2", "OnlyStream", []string{"s"}))
	c.reads(broken("2", fmt.Sprintf(failedText, "OnlyStream")+" HubException: Stream ID 's' is already in use."))
	c.send(part("s", []byte("x")), over("s"))
	c.reads(value("1", "[x]"))
	c.quiet()
}

func TestUploadsThatFail(t *testing.T) {
	for _, detailed := range []bool{false, true} {
		_, url := newStage(t, hubsys.HubOptions{EnableDetailedErrors: detailed})
		more := func(method, text string) string {
			if detailed {
				return fmt.Sprintf(failedText, method) + " Error: " + text
			}
			return fmt.Sprintf(failedText, method)
		}
		misfit := func(method, detail string) string {
			if detailed {
				detail = " Error: " + detail
			} else {
				detail = ""
			}
			return fmt.Sprintf(failedText, method) + " HubException: Failed to bind Stream message." + detail
		}
		for _, method := range []string{"RudeSequence", "RudeChannel"} {
			for name, test := range map[string]struct {
				send []string
				want string
			}{
				"the client's error":    {[]string{part("s", "a"), broken("s", "my fault")}, fmt.Sprintf(failedText, method) + " HubException: my fault"},
				"an error without text": {[]string{broken("s", "")}, fmt.Sprintf(failedText, method) + " HubException: "},
				"error":                 {[]string{part("s", "a"), part("s", "error"), part("s", "b")}, misfit(method, "the value does not fit hubsys_test.rude: secret")},
				"hub error":             {[]string{part("s", "hub")}, fmt.Sprintf(failedText, method) + " HubException: Failed to bind Stream message. HubException: for you"},
				"panic":                 {[]string{part("s", "a"), part("s", "panic"), part("s", "b")}, more(method, "panic: secret")},
				"goexit":                {[]string{part("s", "a"), part("s", "goexit"), part("s", "b")}, more(method, "runtime.Goexit was called")},
			} {
				t.Run(fmt.Sprint(method, "/", name, detailed), func(t *testing.T) {
					c := dial(t, url)
					c.send(append([]string{uploading("1", method, []string{"s"})}, test.send...)...)
					c.reads(broken("1", test.want))
					c.send(part("s", "late"), over("s"), uploading("2", method, []string{"s"}), part("s", "new"), over("s"))
					c.reads(value("2", "[new]"))
					c.quiet()
				})
			}
		}
	}
}

// A method can end before its streams, and read them afterwards: it gets the reason why there is no more.
func TestUploadsAfterTheReturn(t *testing.T) {
	s, url := newStage(t, hubsys.HubOptions{})
	later := make(chan error, 1)
	goOn := make(chan struct{})
	s.do = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
		go func() {
			<-ctx.Done()
			_, err := all(items)
			later <- err
		}()
		return "early", nil
	}
	channels := make(chan []int, 1)
	s.chans = func(ctx context.Context, items <-chan int) (any, error) {
		go func() {
			<-ctx.Done()
			channels <- drain(items)
		}()
		return "early", nil
	}
	close(goOn)
	c := dial(t, url)
	c.send(uploading("1", "Take", []string{"s"}))
	c.reads(value("1", "early"))
	require.Equal(t, hubsys.ErrReturned, wait(t, later))
	c.send(uploading("2", "TakeChannel", []string{"s"}))
	c.reads(value("2", "early"))
	require.Empty(t, wait(t, channels), "the channel is closed")
	c.send(part("s", 1), over("s"))
	c.quiet()
}

// A sequence goes on where it was left, and its end stays its end.
func TestASequenceThatIsReadTwice(t *testing.T) {
	s, url := newStage(t, hubsys.HubOptions{})
	s.do = func(_ context.Context, items iter.Seq2[int, error]) (any, error) {
		var parts [][]int
		for item, err := range items {
			if err != nil {
				return nil, err
			}
			parts = append(parts, []int{item})
			if item == 2 {
				break
			}
		}
		rest, err := all(items)
		if err != nil {
			return nil, err
		}
		again, err := all(items)
		return append(parts, rest, again), err
	}
	c := dial(t, url)
	c.send(uploading("1", "Take", []string{"s"}), part("s", 1), part("s", 2), part("s", 3))
	c.send(part("s", 4), over("s"))
	c.reads(value("1", [][]int{{1}, {2}, {3, 4}, nil}))
}

// A stream that has failed does not look whole when it is read again.
func TestAFailedSequenceThatIsReadTwice(t *testing.T) {
	s, url := newStage(t, hubsys.HubOptions{})
	s.do = func(_ context.Context, items iter.Seq2[int, error]) (any, error) {
		_, first := all(items)
		_, second := all(items)
		return fmt.Sprint(first, ", ", second), nil
	}
	c := dial(t, url)
	c.send(uploading("1", "Take", []string{"s"}), part("s", 1), broken("s", "my fault"))
	c.reads(value("1", "my fault, my fault"))
	c.send(uploading("2", "Take", []string{"s"}), part("s", "no number"))
	c.reads(value("2", "Failed to bind Stream message., Failed to bind Stream message."))
	c.send(uploading("3", "Take", []string{"s"}), part("s", "no number"), over("s")) // it has ended when it fails
	c.reads(value("3", "Failed to bind Stream message., Failed to bind Stream message."))
}

// Several goroutines share the items among them.
func TestASequenceThatIsReadConcurrently(t *testing.T) {
	s, url := newStage(t, hubsys.HubOptions{StreamBufferCapacity: 3})
	read := func(ctx context.Context, each func() ([]int, error)) (any, error) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		sum, failed := 0, error(nil)
		for range 4 {
			wg.Go(func() {
				list, err := each()
				mu.Lock()
				defer mu.Unlock()
				for _, item := range list {
					sum += item
				}
				failed = errors.Join(failed, err)
			})
		}
		wg.Wait()
		return sum, failed
	}
	s.do = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
		return read(ctx, func() ([]int, error) { return all(items) })
	}
	s.chans = func(ctx context.Context, items <-chan int) (any, error) {
		return read(ctx, func() ([]int, error) { return drain(items), nil })
	}
	c := dial(t, url)
	for _, method := range []string{"Take", "TakeChannel"} {
		c.send(uploading("1", method, []string{"s"}))
		sum := 0
		for i := range 200 {
			c.send(part("s", i))
			sum += i
		}
		c.send(over("s"))
		c.reads(value("1", sum))
	}
}

// The channel of a call that is canceled, or whose connection goes, is closed behind the end of the context.
func TestAnUploadIsCutOff(t *testing.T) {
	noLeaks(t)
	s, url := newStage(t, hubsys.HubOptions{})
	causes := make(chan error, 1)
	started := make(chan struct{}, 1)
	s.chans = func(ctx context.Context, items <-chan int) (any, error) {
		started <- struct{}{}
		drain(items)
		causes <- context.Cause(ctx)
		return "late", nil
	}
	s.do = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
		started <- struct{}{}
		_, err := all(items)
		causes <- err
		return "late", nil
	}
	for _, method := range []string{"Take", "TakeChannel"} {
		c := dial(t, url)
		c.send(uploading("1", method, []string{"s"}), part("s", 1))
		wait(t, started)
		c.send(cancel("1"))
		require.Equal(t, hubsys.ErrCanceled, wait(t, causes))
		c.reads(value("1", "late"))
		c.send(uploading("2", method, []string{"s"}), part("s", 1))
		wait(t, started)
		_ = c.ws.CloseNow()
		require.Equal(t, hubsys.ErrDisconnected, wait(t, causes))
	}
}

// A method that takes no context knows nothing of a cancel, whether it runs or waits: its streams go on.
func TestAnUploadToAMethodWithoutAContextIsCanceled(t *testing.T) {
	s, url := newStage(t, hubsys.HubOptions{})
	goOn, started := make(chan struct{}), make(chan struct{})
	s.do = func(context.Context, iter.Seq2[int, error]) (any, error) { close(started); <-goOn; return 0, nil }
	c := dial(t, url)
	c.send(uploading("1", "OnlyStream", []string{"s"}), cancel("1"), part("s", []byte("a")))
	c.send(cancel("1"), part("s", []byte("b")), over("s"))
	c.reads(value("1", "[a b]"))
	c.send(uploading("2", "Take", []string{"s"}))
	wait(t, started)
	c.send(uploading("3", "RudeSequence", []string{"r"}), part("r", "a"), cancel("3"), over("r"))
	c.reads(value("3", "[a]"))
	close(goOn)
	c.reads(value("2", 0))
}

// What the application decodes with may panic: the log says where.
func TestPanicsInUploadsAreLogged(t *testing.T) {
	for _, method := range []string{"RudeSequence", "RudeChannel"} {
		t.Run(method, func(t *testing.T) {
			log := &journal{}
			sys := newSystem(t, hubsys.Config{Logger: log.logger()})
			hub := register(t, sys, func(context.Context) (*studio, error) { return &studio{s: &stage{}}, nil }, hubsys.HubOptions{})
			c := dial(t, serve(t, sys, hub))
			c.send(uploading("1", method, []string{"s"}), part("s", "panic"))
			c.reads(broken("1", fmt.Sprintf(failedText, method)))
			require.Contains(t, log.String(), "behave", "the stack")
		})
	}
}

func TestStreamBufferCapacity(t *testing.T) {
	require.EqualError(t, hubsys.HubOptions{StreamBufferCapacity: -1}.Validate(), "hubsys: HubOptions: StreamBufferCapacity is -1: it is at least 1, or 0 for the default")
	for _, capacity := range []int{0, 1, 100} {
		require.NoError(t, hubsys.HubOptions{StreamBufferCapacity: capacity}.Validate())
	}
}

// ---- streams to the client

func TestStreamsOfEveryKind(t *testing.T) {
	_, url := newStage(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, test := range []struct {
		send string
		want []string
	}{
		{streaming("1", "Count", nil, 3), []string{part("1", 0), part("1", 1), part("1", 2), over("1")}},
		{streaming("1", "Count", nil, 0), []string{over("1")}},
		{streaming("1", "Points", nil, 2), []string{`{"type":2,"invocationId":"1","item":{"x":0,"y":0}}`, `{"type":2,"invocationId":"1","item":{"x":1,"y":-1}}`, over("1")}},
		{streaming("1", "NamedBack", nil, 1), []string{part("1", 0), over("1")}},
		{streaming("1", "StreamAndError", nil, ""), []string{over("1")}},
		{streaming("1", "StreamAndError", nil, "secret"), []string{broken("1", fmt.Sprintf(failedText, "StreamAndError"))}},
		{streaming("1", "NilChannel", nil), []string{broken("1", "The value returned by the streaming method 'NilChannel' is not a ChannelReader<> or IAsyncEnumerable<>.")}},
		{streaming("1", "NilSequence", nil), []string{broken("1", "The value returned by the streaming method 'NilSequence' is not a ChannelReader<> or IAsyncEnumerable<>.")}},
		{streaming("1", "Fails", nil, 0, ""), []string{over("1")}},
		{streaming("1", "Fails", nil, 1, "error"), []string{part("1", 0), broken("1", streamingText)}},
		{streaming("1", "Fails", nil, 0, "hub"), []string{broken("1", streamingText+" HubException: for you")}},
		{streaming("1", "Fails", nil, 2, "panic"), []string{part("1", 0), part("1", 1), broken("1", streamingText)}},
		{streaming("1", "Fails", nil, 0, "panic hub"), []string{broken("1", streamingText+" HubException: for you")}},
		{streaming("1", "Fails", nil, 1, "goexit"), []string{part("1", 0), broken("1", streamingText)}},
		{streaming("1", "Fails", nil, 0, "canceled"), []string{broken("1", streamingText)}},
		{streaming("1", "Unencodable", nil, 7), []string{part("1", 7), broken("1", streamingText)}},
		{streaming("1", "Echo", nil, 1), []string{broken("1", "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation.")}},
		{invocation("1", "Count", 1), []string{broken("1", "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation.")}},
		{invocation("", "Count", 1), nil},
		{streaming("1", "NoSuch", nil), []string{broken("1", "Failed to invoke 'NoSuch' due to an error on the server. HubException: Method does not exist.")}},
		{streaming("1", "Count", nil, "x"), []string{broken("1", "Failed to invoke 'Count' due to an error on the server.")}},
	} {
		c.send(test.send)
		c.reads(test.want...)
		c.quiet()
	}
}

func TestErrorsOfStreamsInDetail(t *testing.T) {
	_, url := newStage(t, hubsys.HubOptions{EnableDetailedErrors: true})
	c := dial(t, url)
	for _, test := range []struct{ send, want string }{
		{streaming("1", "Fails", nil, 0, "error"), streamingText + " Error: secret"},
		{streaming("1", "Fails", nil, 0, "panic"), streamingText + " Error: panic: secret"},
		{streaming("1", "Fails", nil, 0, "goexit"), streamingText + " Error: runtime.Goexit was called"},
		{streaming("1", "StreamAndError", nil, "secret"), fmt.Sprintf(failedText, "StreamAndError") + " Error: secret"},
	} {
		c.send(test.send)
		c.reads(broken("1", test.want))
	}
}

func TestStreamsThatAreCanceled(t *testing.T) {
	noLeaks(t)
	s, url := newStage(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, method := range []string{"Never", "NeverNamed", "Cleanup"} {
		c.send(streaming("1", method, nil))
		s.feed <- 1
		s.feed <- 2
		c.reads(part("1", 1), part("1", 2))
		c.send(cancel("1"))
		c.reads(over("1"))
		c.quiet()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, []string{"cleaned up"}, s.notes)
}

// A stream that is always ready ends as well.
func TestAStreamWithoutEndIsCanceled(t *testing.T) {
	_, url := newStage(t, hubsys.HubOptions{OutboxLimit: 64 << 10})
	c := dial(t, url)
	c.send(streaming("1", "Count", nil, -1))
	c.reads(part("1", 0), part("1", 1))
	c.send(cancel("1"))
	for next := 2; ; next++ {
		r := c.next()
		if r.Type == 3 {
			require.Equal(t, over("1"), r.raw)
			break
		}
		require.Equal(t, part("1", next), r.raw)
	}
	c.quiet()
}

func TestStreamsWithOneID(t *testing.T) {
	s, url := newStage(t, hubsys.HubOptions{})
	c := dial(t, url)
	c.send(streaming("1", "Never", nil))
	s.feed <- 1
	c.reads(part("1", 1))
	c.send(streaming("1", "Count", nil, 5))
	c.reads(broken("1", "Invocation ID '1' is already in use."))
	s.feed <- 2
	c.reads(part("1", 2))
	c.send(cancel("1"))
	c.reads(over("1"))
	c.send(streaming("1", "Count", nil, 1))
	c.reads(part("1", 0), over("1"))
	c.quiet()
}

// Calls run beside streams, with a limit of one.
func TestCallsBesideStreams(t *testing.T) {
	s, url := newStage(t, hubsys.HubOptions{})
	c := dial(t, url)
	const streams = 50
	for i := range streams {
		c.send(streaming(fmt.Sprint("s", i), "Never", nil))
	}
	for i := range 20 {
		c.send(invocation("1", "Echo", i))
		c.reads(value("1", i))
	}
	got := map[string]int{}
	for i := range 10 * streams {
		s.feed <- i
		got[c.next().raw]++
	}
	require.Len(t, got, 10*streams, "each item goes to one of them")
	for i := range streams {
		c.send(cancel(fmt.Sprint("s", i)))
		c.reads(over(fmt.Sprint("s", i)))
	}
	c.quiet()
}

func TestManyStreams(t *testing.T) {
	noLeaks(t)
	_, url := newStage(t, hubsys.HubOptions{})
	var clients sync.WaitGroup
	for range 4 {
		c := dial(t, url)
		clients.Go(func() {
			const streams, items = 40, 50
			for i := range streams {
				c.send(streaming(strconv.Itoa(i), []string{"Count", "Points"}[i%2], nil, items))
			}
			next := [streams]int{}
			for range streams * (items + 1) {
				r, err := c.tryNext()
				if !assert.NoError(t, err) {
					return
				}
				i, _ := strconv.Atoi(r.InvocationID)
				want := part(r.InvocationID, next[i])
				if i%2 == 1 {
					want = fmt.Sprintf(`{"type":2,"invocationId":"%d","item":{"x":%d,"y":%d}}`, i, next[i], -next[i])
				}
				if next[i] == items {
					want = over(r.InvocationID)
				}
				if !assert.Equal(t, want, r.raw) {
					return
				}
				next[i]++
			}
		})
	}
	clients.Wait()
}

// A client that does not read is not sent without limit, and its streams end with it.
func TestASlowClientOfAStream(t *testing.T) {
	noLeaks(t)
	sys := newSystem(t, hubsys.Config{})
	made, ended := &atomic.Int64{}, make(chan error, 1)
	hub := register(t, sys, func(context.Context) (*fountain, error) { return &fountain{made: made, ended: ended}, nil }, hubsys.HubOptions{OutboxLimit: 64 << 10})
	c := dialWith(t, serve(t, sys, hub), dialing{http: deaf})
	c.send(streaming("1", "Spring", nil))
	seen := int64(0)
	for { // until it stands still
		c.next()
		now := made.Load()
		if now == seen && now > 0 {
			break
		}
		if seen = now; now > 100000 {
			require.Fail(t, "it does not wait")
		}
		if now > 64 {
			break
		}
	}
	_ = c.ws.CloseNow()
	require.Equal(t, hubsys.ErrDisconnected, wait(t, ended))
	deaf.CloseIdleConnections()
}

type fountain struct {
	hubsys.Hub
	made  *atomic.Int64
	ended chan error
}

func (*fountain) Echo(v any) any { return v }

func (h *fountain) Spring(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		defer func() { h.ended <- context.Cause(ctx) }()
		for yield(strings.Repeat("x", 1000), nil) {
			h.made.Add(1)
		}
	}
}

// ---- both ways

func TestStreamsBothWays(t *testing.T) {
	noLeaks(t)
	_, url := newStage(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, method := range []string{"EchoSequence", "EchoChannel"} {
		c.send(streaming("1", method, []string{"s"}), part("s", point{1, 2}))
		c.reads(`{"type":2,"invocationId":"1","item":{"x":1,"y":2}}`)
		c.send(part("s", point{3, 4}))
		c.reads(`{"type":2,"invocationId":"1","item":{"x":3,"y":4}}`)
		c.send(over("s"))
		c.reads(over("1"))
	}
	c.send(streaming("1", "Double", []string{"s"}, 2))
	for i := range 30 {
		c.send(part("s", i))
		c.reads(part("1", 2*i))
	}
	c.send(broken("s", "my fault"))
	c.reads(broken("1", streamingText+" HubException: my fault"))
	c.send(streaming("1", "EchoSequence", []string{"s"}), broken("s", "my fault"))
	c.reads(broken("1", streamingText+" HubException: my fault"))
	c.send(streaming("1", "EchoSequence", []string{"s"}), part("s", point{1, 2}))
	c.reads(`{"type":2,"invocationId":"1","item":{"x":1,"y":2}}`)
	c.send(cancel("1"))
	c.reads(over("1"))
	c.send(part("s", point{5, 6}), over("s"))
	c.quiet()
}

// A channel that is cut off by the client's error does not look as if it had ended.
func TestAnEchoedChannelThatFails(t *testing.T) {
	_, url := newStage(t, hubsys.HubOptions{})
	c := dial(t, url)
	c.send(streaming("1", "EchoChannel", []string{"s"}), part("s", point{1, 2}))
	c.reads(`{"type":2,"invocationId":"1","item":{"x":1,"y":2}}`)
	c.send(broken("s", "my fault"))
	c.reads(broken("1", streamingText+" HubException: my fault"))
	c.send(streaming("1", "LateEcho", []string{"s"}), broken("s", "my fault"))
	c.reads(broken("1", streamingText+" HubException: my fault"))
	c.quiet()
}

func TestStreamsInMessagePack(t *testing.T) {
	_, url := newStage(t, hubsys.HubOptions{})
	p := hubproto.MessagePack
	c := open(t, url, dialing{})
	c.send(`{"protocol":"messagepack","version":1}`)
	ctx, stop := context.WithTimeout(t.Context(), within)
	defer stop()
	var unread []byte
	next := func() hubproto.Message {
		for {
			n, err := p.Next(unread, 0, 0)
			require.NoError(t, err)
			if n > 0 {
				var m hubproto.Message
				require.NoError(t, p.Parse(unread[:n], &m))
				unread = unread[n:]
				if m.Type == hubproto.Ping {
					continue
				}
				return m
			}
			_, b, err := c.ws.Read(ctx)
			require.NoError(t, err)
			unread = append(slices.Clone(unread), b...)
		}
	}
	say := func(b []byte, err error) {
		require.NoError(t, err)
		require.NoError(t, c.ws.Write(ctx, websocket.MessageBinary, b))
	}
	_, b, err := c.ws.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "{}\x1e", string(b))
	args := []byte{0x90} // []
	for _, method := range []string{"EchoSequence", "EchoChannel"} {
		say(p.Append(nil, &hubproto.Message{Type: hubproto.StreamInvocation, ID: []byte("1"), Target: []byte(method), Arguments: args, StreamIDs: [][]byte{[]byte("s")}}), nil)
		for i := range 5 {
			say(p.AppendItem(nil, []byte("s"), point{i, -i}))
			want, err := p.AppendItem(nil, []byte("1"), point{i, -i})
			require.NoError(t, err)
			var m hubproto.Message
			require.NoError(t, p.Parse(want, &m))
			got := next()
			require.Equal(t, hubproto.StreamItem, got.Type)
			require.Equal(t, m.Value, got.Value)
		}
		say(p.Append(nil, &hubproto.Message{Type: hubproto.Completion, ID: []byte("s")}), nil)
		got := next()
		require.Equal(t, hubproto.Completion, got.Type)
		require.False(t, got.HasError, string(got.Error))
		require.Nil(t, got.Value)
	}
	say(p.Append(nil, &hubproto.Message{Type: hubproto.Invocation, ID: []byte("2"), Target: []byte("OnlyStream"), Arguments: args, StreamIDs: [][]byte{[]byte("s")}}), nil)
	say(p.AppendItem(nil, []byte("s"), []byte("raw")))
	say(p.Append(nil, &hubproto.Message{Type: hubproto.Completion, ID: []byte("s")}), nil)
	got := next()
	require.Equal(t, "2", string(got.ID))
	require.False(t, got.HasError, string(got.Error))
	var text string
	require.NoError(t, p.BindValue(got.Value, reflect.ValueOf(&text).Elem()))
	require.Equal(t, "[raw]", text)
}

// ---- signatures

type crooked struct{ hubsys.Hub }

func (*crooked) BothWays(chan int)                            {}
func (*crooked) SendOnly(chan<- int)                          {}
func (*crooked) Seq(iter.Seq[int])                            {}
func (*crooked) SeqOfTwo(iter.Seq2[int, string])              {}
func (*crooked) OfChannels(<-chan chan int)                   {}
func (*crooked) OfContexts(iter.Seq2[context.Context, error]) {}
func (*crooked) BackBothWays() chan int                       { return nil }
func (*crooked) BackSeq() iter.Seq[int]                       { return nil }
func (*crooked) BackOfChannels() <-chan (<-chan int)          { return nil }
func (*crooked) BackTwo() (<-chan int, <-chan int)            { return nil, nil }
func (*crooked) ErrorsBack() iter.Seq2[error, error]          { return nil }
func (*crooked) OfReaders(<-chan io.Reader)                   {}
func (*crooked) Fine(<-chan any) iter.Seq2[[]point, error]    { return nil }

func TestStreamsThatHaveNoEncoding(t *testing.T) {
	faults := discover[crooked](t, hidden((*crooked).ErrorsBack)...)
	var names []string
	for _, fault := range faults {
		name, _, _ := strings.Cut(strings.TrimPrefix(fault, "method "), ":")
		names = append(names, name)
	}
	require.Equal(t, []string{"BackBothWays", "BackOfChannels", "BackSeq", "BackTwo", "BothWays", "OfChannels", "OfContexts", "OfReaders", "SendOnly", "Seq", "SeqOfTwo"}, names, strings.Join(faults, "\n"))
}
