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
