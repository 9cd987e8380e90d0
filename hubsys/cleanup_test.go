package hubsys_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// cleanupHub is a hub whose calls leave something to clean up.
type cleanupHub struct {
	hubsys.Hub
	s *cleanupState
}

type cleanupState struct {
	notes
	calls chan *hubsys.Call
	feed  chan int
}

func (s *cleanupState) clean(call *hubsys.Call, names ...string) {
	for _, name := range names {
		call.Cleanup(func() { s.add("%s", name) })
	}
}

func (h *cleanupHub) Close() error { h.s.add("Close"); return nil }

func (h *cleanupHub) Call3() any {
	h.s.clean(h.Call(), "first", "second", "third")
	return notingJSON{&h.s.notes}
}

func (h *cleanupHub) Fail() error {
	h.s.clean(h.Call(), "clean")
	return errors.New("secret")
}

func (h *cleanupHub) Panic() {
	h.s.clean(h.Call(), "clean")
	panic("secret")
}

func (h *cleanupHub) PanicInCleanup() string {
	h.s.clean(h.Call(), "first")
	h.Call().Cleanup(func() { panic("in a cleanup") })
	h.s.clean(h.Call(), "last")
	return "result"
}

func (h *cleanupHub) GoexitInCleanup() {
	h.s.clean(h.Call(), "first")
	h.Call().Cleanup(runtime.Goexit)
}

func (h *cleanupHub) Nested() {
	h.s.clean(h.Call(), "first")
	h.Call().Cleanup(func() { h.s.add("adds"); h.s.clean(h.Call(), "added") })
}

func (h *cleanupHub) Keep() { h.s.calls <- h.Call() }

func (h *cleanupHub) Stream() iter.Seq2[int, error] {
	h.s.clean(h.Call(), "clean")
	return func(yield func(int, error) bool) {
		defer h.s.add("ended")
		for n := range h.s.feed {
			if !yield(n, nil) {
				return
			}
		}
	}
}

func (h *cleanupHub) Header(name string) string { return h.Call().Header(name) }

func (h *cleanupHub) HeaderOfStream(name string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield(h.Call().Header(name), nil) }
}

func (h *cleanupHub) OnConnected(context.Context) error {
	h.s.add("OnConnected")
	h.s.clean(h.Call(), "first", "second")
	return nil
}

func (h *cleanupHub) OnDisconnected(ctx context.Context, _ error) error {
	h.s.add("OnDisconnected")
	h.s.clean(h.Call(), "first", "second")
	call, _ := hubsys.CallFrom(ctx)
	h.s.calls <- call
	return nil
}

// newCleanupServer serves a cleanupHub.
func newCleanupServer(t *testing.T, options hubsys.HubOptions) (s *cleanupState, log *logRecorder, url string) {
	t.Helper()
	s, log = &cleanupState{calls: make(chan *hubsys.Call, 10), feed: make(chan int)}, &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	hub := register(t, sys, func(context.Context) (*cleanupHub, error) { return &cleanupHub{s: s}, nil }, options)
	return s, log, serve(t, sys, hub)
}

func TestCleanupsRunLastFirstBehindTheResultAndBeforeClose(t *testing.T) {
	s, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	require.Equal(t, []string{"OnConnected", "second", "first", "Close"}, s.take())
	c.invoke("Call3")
	require.Equal(t, []string{"encode", "third", "second", "first", "Close"}, s.take())
	c.invokeError("Fail")
	require.Equal(t, []string{"clean", "Close"}, s.take())
	c.invokeError("Panic")
	require.Equal(t, []string{"clean", "Close"}, s.take())
	c.invoke("Nested")
	require.Equal(t, []string{"adds", "added", "first", "Close"}, s.take())

	c.close()
	receive(t, s.calls)
	want := []string{"OnDisconnected", "second", "first", "Close"}
	var got []string
	require.Eventually(t, func() bool { got = append(got, s.take()...); return len(got) >= len(want) }, testTimeout, poll)
	require.Equal(t, want, got)
}

func TestAPanicInACleanupIsLoggedAndTheOthersRun(t *testing.T) {
	s, log, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	s.take()
	require.Equal(t, `"result"`, string(c.invoke("PanicInCleanup").Result))
	require.Equal(t, []string{"last", "first", "Close"}, s.take())
	require.Contains(t, log.String(), "in a cleanup")
	require.Contains(t, log.String(), "method=PanicInCleanup")
}

func TestACleanupThatIsAddedWhenTheCallIsOverRunsAtOnce(t *testing.T) {
	s, log, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	c.invoke("Keep")
	call := receive(t, s.calls)
	awaitEnd(t, call)
	ran := false
	call.Cleanup(func() { ran = true })
	require.True(t, ran)
	call.Cleanup(func() { panic("afterwards") })
	require.Contains(t, log.String(), "afterwards")

	c.close()
	call = receive(t, s.calls) // of OnDisconnected
	awaitEnd(t, call)
	ran = false
	call.Cleanup(func() { ran = true })
	require.True(t, ran)
}

// awaitEnd waits until a call is over: its inbox is closed then.
func awaitEnd(t *testing.T, call *hubsys.Call) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case _, open := <-call.Inbox():
			return !open
		default:
			return false
		}
	}, testTimeout, poll)
}

func TestCleanupsThatAreAddedConcurrentlyRunOnce(t *testing.T) {
	s, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	s.take()
	const rounds, each = 20, 20
	ran := make(chan int, rounds*each)
	for range rounds {
		c.send(invocation("1", "Keep"))
		call := receive(t, s.calls)
		for i := range each { // some before the end of the call, others behind it
			call.Cleanup(func() { ran <- i })
		}
		c.awaitCompletion("1")
	}
	for range rounds * each {
		receive(t, ran)
	}
	require.Empty(t, ran)
}

func TestCleanupsOfStreamsRunAtTheirEnd(t *testing.T) {
	s, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	s.take()
	c.send(streamInvocation("1", "Stream", nil))
	s.feed <- 1
	c.requireMessages(streamItem("1", 1))
	require.Empty(t, s.take())
	close(s.feed)
	c.requireMessages(completion("1"))
	require.Equal(t, []string{"ended", "clean", "Close"}, s.take())
}

func TestCleanupsOfStreamsRunWhenTheClientCancels(t *testing.T) {
	s, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	s.take()
	c.send(streamInvocation("1", "Stream", nil))
	s.feed <- 1
	c.requireMessages(streamItem("1", 1))
	c.send(cancelInvocation("1"))
	require.Eventually(t, func() bool { // until the stream sees that nobody wants more
		select {
		case s.feed <- 2:
			return false
		default:
		}
		return s.count() >= 3
	}, testTimeout, poll)
	require.Equal(t, []string{"ended", "clean", "Close"}, s.take())
	require.Equal(t, "1", c.awaitCompletion("1").InvocationID)
}

func TestCleanupsRunWhenTheConstructorFails(t *testing.T) {
	s := &cleanupState{calls: make(chan *hubsys.Call, 10)}
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(ctx context.Context) (*cleanupHub, error) {
		call, _ := hubsys.CallFrom(ctx)
		call.Cleanup(func() { s.add("rollback %s", call.Method()) })
		if call.Method() == "Keep" {
			return nil, errors.New("secret")
		}
		return &cleanupHub{s: s}, nil
	}, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	require.Equal(t, []string{"OnConnected", "second", "first", "rollback OnConnected", "Close"}, s.take())
	c.invokeError("Keep")
	require.Equal(t, []string{"rollback Keep"}, s.take())
	c.invokeError("unknown") // makes no hub value
	require.Empty(t, s.take())
}

const headersJSON = `"headers":{"traceparent":"00-ab","Empty":"","quoted":"a\"b\u00e9"},`

func TestHeadersOfHubMessages(t *testing.T) {
	_, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	withHeaders := func(record string) string { return strings.Replace(record, "{", "{"+headersJSON, 1) }
	for name, want := range map[string]string{"traceparent": `"00-ab"`, "Traceparent": `""`, "Empty": `""`, "quoted": `"a\"bé"`, "missing": `""`} {
		c.send(withHeaders(invocation("1", "Header", name)))
		require.Equal(t, want, string(c.awaitCompletion("1").Result), name)
		require.Equal(t, `""`, string(c.invoke("Header", name).Result), name) // those of the call before are gone
	}
	c.send(withHeaders(streamInvocation("2", "HeaderOfStream", nil, "traceparent")))
	c.requireMessages(streamItem("2", "00-ab"), completion("2"))
	c.send(strings.TrimSuffix(invocation("3", "Header", "late"), "}") + `,"headers":{"late":"yes"}}`) // behind the arguments
	require.Equal(t, `"yes"`, string(c.awaitCompletion("3").Result))
}

func TestHeadersOfPackedHubMessages(t *testing.T) {
	_, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dialPacked(t, url)
	record, err := hubproto.MessagePack.AppendInvocation(nil, []byte("1"), "Header", []any{"traceparent"})
	require.NoError(t, err)
	// [1, {}, "1", …] with headers in place of {}
	headers := "\x82\xabtraceparent\xa500-ab\xa5other\xa1x"
	require.Equal(t, "\x01\x80", string(record[2:4]))
	body := string(record[1:3]) + headers + string(record[4:])
	c.write(append([]byte{byte(len(body))}, body...))
	require.Equal(t, "00-ab", c.result("1"))
	require.Empty(t, c.invoke("Header", "traceparent"))
}

func TestHeadersOfACallThatIsOver(t *testing.T) {
	s, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	c.send(strings.Replace(invocation("1", "Keep"), "{", "{"+headersJSON, 1))
	call := receive(t, s.calls)
	c.awaitCompletion("1")
	for range 50 {
		c.invoke("Header", "this call uses the memory of the other one again")
	}
	require.Equal(t, "00-ab", call.Header("traceparent"))
}

// A value that the constructor returns for a second call while it serves a stream fails that call alone.
func TestAHubValueThatServesAStreamIsNotClosedByAnotherCall(t *testing.T) {
	s := &cleanupState{calls: make(chan *hubsys.Call, 10), feed: make(chan int)}
	shared := &cleanupHub{s: s}
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(ctx context.Context) (*cleanupHub, error) {
		if call, _ := hubsys.CallFrom(ctx); call.Method() == "OnConnected" || call.Method() == "OnDisconnected" {
			return &cleanupHub{s: s}, nil
		}
		return shared, nil
	}, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	s.take()
	c.send(streamInvocation("s", "Stream", nil))
	s.feed <- 1
	c.requireMessages(streamItem("s", 1))
	require.NotEmpty(t, c.invokeError("Keep"))
	require.Empty(t, s.take())
	s.feed <- 2
	c.requireMessages(streamItem("s", 2))
	close(s.feed)
	c.requireMessages(completion("s"))
	require.Equal(t, []string{"ended", "clean", "Close"}, s.take())
}

func TestCloseRunsBehindACleanupThatCallsGoexit(t *testing.T) {
	s, _, url := newCleanupServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	s.take()
	c.call("GoexitInCleanup")
	var got []string
	require.Eventually(t, func() bool { got = append(got, s.take()...); return len(got) >= 2 }, testTimeout, poll)
	require.ElementsMatch(t, []string{"first", "Close"}, got)
	c.invoke("Call3")
	require.Equal(t, []string{"encode", "third", "second", "first", "Close"}, s.take(), "the connection goes on")
}

// Headers are there before the arguments have been decoded.
func TestHeadersBeforeTheArgumentsAreBound(t *testing.T) {
	seen := make(chan string, 10)
	policy := func(ctx context.Context, _ *hubsys.Principal) error {
		call, _ := hubsys.CallFrom(ctx)
		seen <- call.Header("traceparent") + call.Header("missing")
		return nil
	}
	withHeaders := strings.Replace(invocation("1", "Header", "quoted"), "{", "{"+headersJSON, 1)
	_, _, url := newCleanupServer(t, hubsys.HubOptions{Methods: []hubsys.Method{{Func: (*cleanupHub).Header, Policy: policy}}})
	c := dial(t, url)
	c.send(withHeaders)
	require.Equal(t, `"a\"bé"`, string(c.awaitCompletion("1").Result))
	require.Equal(t, "00-ab", receive(t, seen))
	c.invoke("Header", "quoted")
	require.Empty(t, receive(t, seen))

	c = dialHandler(t, handlers{"Header": func(_ context.Context, in *hubsys.Invocation) (any, error) {
		before := in.Call().Header("traceparent")
		var name string
		err := in.Bind(&name)
		return []string{before, name, in.Call().Header(name)}, err
	}}, hubsys.HubOptions{Methods: []hubsys.Method{{Name: "Header", Policy: policy}}})
	c.send(withHeaders)
	require.Equal(t, `["00-ab","quoted","a\"bé"]`, string(c.awaitCompletion("1").Result))
	require.Equal(t, "00-ab", receive(t, seen))
}
