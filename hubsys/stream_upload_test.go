package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestParametersAndStreamsInAnyOrder(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{})
	for _, test := range []struct {
		method  string
		streams []string
		args    []any
		send    []string
		result  string
	}{
		{"ContextFirst", []string{"s", "c"}, []any{1, "b", true}, []string{streamItem("c", 1), streamItem("s", "x"), streamItem("c", 2), streamItem("s", "y"), completion("c"), completion("s")}, "1 [x y] b [1 2] true true"},
		{"ContextFirst", []string{"c", "s"}, []any{1, "b", false}, []string{streamItem("s", 1), completion("c"), completion("s")}, "1 [] b [1] false true"},
		{"StreamsFirst", []string{"a", "b"}, []any{3}, []string{streamItem("a", point{1, 2}), streamItem("b", nil), streamItem("a", map[string]int{"x": 3}), streamItem("b", point{4, 5}), completion("b"), completion("a")}, `[{1 2} {3 0}] [null,{"X":4,"Y":5}] 3`},
		{"StreamLast", []string{"s"}, []any{1, 2}, []string{streamItem("s", "x"), streamItem("s", 1.5), streamItem("s", []int{1}), completion("s")}, "1 2 [x 1.5 [1]]"},
		{"Named", []string{"1", "2"}, []any{}, []string{streamItem("1", 1), streamItem("2", 2), completion("2"), completion("1")}, "[1] [2]"},
		{"OnlyStream", []string{"s"}, []any{}, []string{streamItem("s", []byte("a")), streamItem("s", []byte("b")), completion("s")}, "[a b]"},
	} {
		t.Run(test.method, func(t *testing.T) {
			c := dial(t, url)
			for _, apart := range []bool{false, true} {
				records := append([]string{uploadInvocation("1", test.method, test.streams, test.args...)}, test.send...)
				if apart {
					for _, record := range records {
						c.send(record)
					}
				} else {
					c.send(records...)
				}
				c.requireMessages(resultCompletion("1", test.result))
			}
		})
	}
}

func TestNumbersOfStreamsThatDoNotFit(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, test := range []struct{ send, want string }{
		{invocation("1", "OnlyStream"), errorCompletion("1", fmt.Sprintf(invocationErrorFormat, "OnlyStream")+" HubException: Client sent 0 stream(s), Hub method expects 1.")},
		{uploadInvocation("1", "OnlyStream", []string{"a", "b"}), errorCompletion("1", fmt.Sprintf(invocationErrorFormat, "OnlyStream")+" HubException: Client sent 2 stream(s), Hub method expects 1.")},
		{uploadInvocation("1", "Echo", []string{"a"}, 1), errorCompletion("1", fmt.Sprintf(invocationErrorFormat, "Echo")+" HubException: Client sent 1 stream(s), Hub method expects 0.")},
		{uploadInvocation("1", "Named", []string{"a", "a"}), errorCompletion("1", fmt.Sprintf(invocationErrorFormat, "Named")+" HubException: Stream ID 'a' is already in use.")},
		{uploadInvocation("1", "OnlyStream", []string{"a"}, 1), errorCompletion("1", "Failed to invoke 'OnlyStream' due to an error on the server.")},
		{uploadInvocation("1", "NoSuch", []string{"a"}), errorCompletion("1", "Failed to invoke 'NoSuch' due to an error on the server. HubException: Method does not exist.")},
		{streamInvocation("1", "OnlyStream", []string{"a"}), errorCompletion("1", "The client attempted to invoke the non-streaming 'OnlyStream' method with a streaming invocation.")},
		{uploadInvocation("1", "EchoChannel", []string{"a"}), errorCompletion("1", "The client attempted to invoke the streaming 'EchoChannel' method with a non-streaming invocation.")},
	} {
		c.send(test.send, streamItem("a", 1), completion("a"))
		c.requireMessages(test.want)
	}
	c.send(uploadInvocation("1", "OnlyStream", []string{"s"}), uploadInvocation("2", "OnlyStream", []string{"s"}))
	c.requireMessages(errorCompletion("2", fmt.Sprintf(invocationErrorFormat, "OnlyStream")+" HubException: Stream ID 's' is already in use."))
	c.send(streamItem("s", []byte("x")), completion("s"))
	c.requireMessages(resultCompletion("1", "[x]"))
	c.requireNoMessages()
}

func TestUploadsThatFail(t *testing.T) {
	for _, detailed := range []bool{false, true} {
		_, url := newStreamServer(t, hubsys.HubOptions{EnableDetailedErrors: detailed})
		more := func(method, text string) string {
			if detailed {
				return fmt.Sprintf(invocationErrorFormat, method) + " Error: " + text
			}
			return fmt.Sprintf(invocationErrorFormat, method)
		}
		bindError := func(method, detail string) string {
			if detailed {
				detail = " Error: " + detail
			} else {
				detail = ""
			}
			return fmt.Sprintf(invocationErrorFormat, method) + " HubException: Failed to bind Stream message." + detail
		}
		for _, method := range []string{"RudeSequence", "RudeChannel"} {
			for name, test := range map[string]struct {
				send []string
				want string
			}{
				"the client's error":    {[]string{streamItem("s", "a"), errorCompletion("s", "my fault")}, fmt.Sprintf(invocationErrorFormat, method) + " HubException: my fault"},
				"an error without text": {[]string{errorCompletion("s", "")}, fmt.Sprintf(invocationErrorFormat, method) + " HubException: "},
				"error":                 {[]string{streamItem("s", "a"), streamItem("s", "error"), streamItem("s", "b")}, bindError(method, "the value does not fit hubsys_test.misbehavingJSON: secret")},
				"hub error":             {[]string{streamItem("s", "hub")}, fmt.Sprintf(invocationErrorFormat, method) + " HubException: Failed to bind Stream message. HubException: for you"},
				"panic":                 {[]string{streamItem("s", "a"), streamItem("s", "panic"), streamItem("s", "b")}, more(method, "panic: secret")},
				"goexit":                {[]string{streamItem("s", "a"), streamItem("s", "goexit"), streamItem("s", "b")}, more(method, "runtime.Goexit was called")},
			} {
				t.Run(fmt.Sprint(method, "/", name, detailed), func(t *testing.T) {
					c := dial(t, url)
					c.send(append([]string{uploadInvocation("1", method, []string{"s"})}, test.send...)...)
					c.requireMessages(errorCompletion("1", test.want))
					c.send(streamItem("s", "late"), completion("s"), uploadInvocation("2", method, []string{"s"}), streamItem("s", "new"), completion("s"))
					c.requireMessages(resultCompletion("2", "[new]"))
					c.requireNoMessages()
				})
			}
		}
	}
}

// A method may return before its uploads end. Reading them afterwards returns the reason why they have ended.
func TestUploadsAfterTheReturn(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{})
	later := make(chan error, 1)
	proceed := make(chan struct{})
	s.readSequence = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
		go func() {
			<-ctx.Done()
			_, err := collect(items)
			later <- err
		}()
		return "early", nil
	}
	channels := make(chan []int, 1)
	s.readChannel = func(ctx context.Context, items <-chan int) (any, error) {
		go func() {
			<-ctx.Done()
			channels <- collectChannel(items)
		}()
		return "early", nil
	}
	close(proceed)
	c := dial(t, url)
	c.send(uploadInvocation("1", "Take", []string{"s"}))
	c.requireMessages(resultCompletion("1", "early"))
	require.Equal(t, hubsys.ErrReturned, receive(t, later))
	c.send(uploadInvocation("2", "TakeChannel", []string{"s"}))
	c.requireMessages(resultCompletion("2", "early"))
	require.Empty(t, receive(t, channels), "the channel is closed")
	c.send(streamItem("s", 1), completion("s"))
	c.requireNoMessages()
}

// A second loop over a sequence continues after the first one, and a sequence that has ended remains ended.
func TestASequenceContinuesWhenItIsReadAgain(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{})
	s.readSequence = func(_ context.Context, items iter.Seq2[int, error]) (any, error) {
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
		rest, err := collect(items)
		if err != nil {
			return nil, err
		}
		again, err := collect(items)
		return append(parts, rest, again), err
	}
	c := dial(t, url)
	c.send(uploadInvocation("1", "Take", []string{"s"}), streamItem("s", 1), streamItem("s", 2), streamItem("s", 3))
	c.send(streamItem("s", 4), completion("s"))
	c.requireMessages(resultCompletion("1", [][]int{{1}, {2}, {3, 4}, nil}))
}

// A sequence that has failed returns the error again when it is read again.
func TestAFailedSequenceReturnsItsErrorAgain(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{})
	s.readSequence = func(_ context.Context, items iter.Seq2[int, error]) (any, error) {
		_, first := collect(items)
		_, second := collect(items)
		return fmt.Sprint(first, ", ", second), nil
	}
	c := dial(t, url)
	c.send(uploadInvocation("1", "Take", []string{"s"}), streamItem("s", 1), errorCompletion("s", "my fault"))
	c.requireMessages(resultCompletion("1", "my fault, my fault"))
	c.send(uploadInvocation("2", "Take", []string{"s"}), streamItem("s", "no number"))
	c.requireMessages(resultCompletion("2", "Failed to bind Stream message., Failed to bind Stream message."))
	c.send(uploadInvocation("3", "Take", []string{"s"}), streamItem("s", "no number"), completion("s")) // here the stream has ended before it fails
	c.requireMessages(resultCompletion("3", "Failed to bind Stream message., Failed to bind Stream message."))
}

// Several goroutines that read one sequence share its items.
func TestConcurrentReadersOfASequenceShareItsItems(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{StreamBufferCapacity: 3})
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
	s.readSequence = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
		return read(ctx, func() ([]int, error) { return collect(items) })
	}
	s.readChannel = func(ctx context.Context, items <-chan int) (any, error) {
		return read(ctx, func() ([]int, error) { return collectChannel(items), nil })
	}
	c := dial(t, url)
	for _, method := range []string{"Take", "TakeChannel"} {
		c.send(uploadInvocation("1", method, []string{"s"}))
		sum := 0
		for i := range 200 {
			c.send(streamItem("s", i))
			sum += i
		}
		c.send(completion("s"))
		c.requireMessages(resultCompletion("1", sum))
	}
}

// When a call is canceled or its connection ends, the context ends before the channel of the upload is closed.
func TestAnUploadIsCutOff(t *testing.T) {
	requireNoLeaks(t)
	s, url := newStreamServer(t, hubsys.HubOptions{})
	causes := make(chan error, 1)
	started := make(chan struct{}, 1)
	s.readChannel = func(ctx context.Context, items <-chan int) (any, error) {
		started <- struct{}{}
		collectChannel(items)
		causes <- context.Cause(ctx)
		return "late", nil
	}
	s.readSequence = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) {
		started <- struct{}{}
		_, err := collect(items)
		causes <- err
		return "late", nil
	}
	for _, method := range []string{"Take", "TakeChannel"} {
		c := dial(t, url)
		c.send(uploadInvocation("1", method, []string{"s"}), streamItem("s", 1))
		receive(t, started)
		c.send(cancelInvocation("1"))
		require.Equal(t, hubsys.ErrCanceled, receive(t, causes))
		c.requireMessages(resultCompletion("1", "late"))
		c.send(uploadInvocation("2", method, []string{"s"}), streamItem("s", 1))
		receive(t, started)
		_ = c.ws.CloseNow()
		require.Equal(t, hubsys.ErrDisconnected, receive(t, causes))
	}
}

// A cancel does not affect the uploads of a method that takes no context.
func TestAnUploadToAMethodWithoutAContextIsCanceled(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{})
	proceed, started := make(chan struct{}), make(chan struct{})
	s.readSequence = func(context.Context, iter.Seq2[int, error]) (any, error) { close(started); <-proceed; return 0, nil }
	c := dial(t, url)
	c.send(uploadInvocation("1", "OnlyStream", []string{"s"}), cancelInvocation("1"), streamItem("s", []byte("a")))
	c.send(cancelInvocation("1"), streamItem("s", []byte("b")), completion("s"))
	c.requireMessages(resultCompletion("1", "[a b]"))
	c.send(uploadInvocation("2", "Take", []string{"s"}))
	receive(t, started)
	c.send(uploadInvocation("3", "RudeSequence", []string{"r"}), streamItem("r", "a"), cancelInvocation("3"), completion("r"))
	c.requireMessages(resultCompletion("3", "[a]"))
	close(proceed)
	c.requireMessages(resultCompletion("2", 0))
}

// A panic of an unmarshaler of the application is logged with its stack.
func TestPanicsInUploadsAreLogged(t *testing.T) {
	for _, method := range []string{"RudeSequence", "RudeChannel"} {
		t.Run(method, func(t *testing.T) {
			log := &logRecorder{}
			sys := newSystem(t, hubsys.Config{Logger: log.logger()})
			hub := register(t, sys, func(context.Context) (*streamHub, error) { return &streamHub{s: &streamState{}}, nil },
				hubsys.HubOptions{})
			c := dial(t, serve(t, sys, hub))
			c.send(uploadInvocation("1", method, []string{"s"}), streamItem("s", "panic"))
			c.requireMessages(errorCompletion("1", fmt.Sprintf(invocationErrorFormat, method)))
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
