package hubsys_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestStreamsOfEveryKind(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, test := range []struct {
		send string
		want []string
	}{
		{streamInvocation("1", "Count", nil, 3), []string{streamItem("1", 0), streamItem("1", 1), streamItem("1", 2), completion("1")}},
		{streamInvocation("1", "Count", nil, 0), []string{completion("1")}},
		{streamInvocation("1", "Points", nil, 2), []string{`{"type":2,"invocationId":"1","item":{"x":0,"y":0}}`, `{"type":2,"invocationId":"1","item":{"x":1,"y":-1}}`, completion("1")}},
		{streamInvocation("1", "NamedBack", nil, 1), []string{streamItem("1", 0), completion("1")}},
		{streamInvocation("1", "PlainFunc", nil, 5), []string{streamItem("1", 5), streamItem("1", 6), completion("1")}},
		{streamInvocation("1", "Texts", nil, []string{"a", "\n"}), []string{streamItem("1", "a"), streamItem("1", "\n"), completion("1")}},
		{streamInvocation("1", "Flags", nil, []bool{true, false}), []string{streamItem("1", true), streamItem("1", false), completion("1")}},
		{streamInvocation("1", "Shorts", nil, []int32{-1, 2}), []string{streamItem("1", -1), streamItem("1", 2), completion("1")}},
		{streamInvocation("1", "Longs", nil, []int64{1 << 40}), []string{streamItem("1", 1<<40), completion("1")}},
		{streamInvocation("1", "Floats", nil, []float64{0.5, -1}), []string{streamItem("1", 0.5), streamItem("1", -1), completion("1")}},
		{streamInvocation("1", "Anything", nil, []any{nil, "a", []int{1}}), []string{streamItem("1", nil), streamItem("1", "a"), streamItem("1", []int{1}), completion("1")}},
		{streamInvocation("1", "StreamAndError", nil, ""), []string{completion("1")}},
		{streamInvocation("1", "StreamAndError", nil, "secret"), []string{errorCompletion("1", fmt.Sprintf(invocationErrorFormat, "StreamAndError"))}},
		{streamInvocation("1", "NilChannel", nil), []string{errorCompletion("1", "The value returned by the streaming method 'NilChannel' is not a ChannelReader<> or IAsyncEnumerable<>.")}},
		{streamInvocation("1", "NilSequence", nil), []string{errorCompletion("1", "The value returned by the streaming method 'NilSequence' is not a ChannelReader<> or IAsyncEnumerable<>.")}},
		{streamInvocation("1", "Fails", nil, 0, ""), []string{completion("1")}},
		{streamInvocation("1", "Fails", nil, 1, "error"), []string{streamItem("1", 0), errorCompletion("1", streamErrorText)}},
		{streamInvocation("1", "Fails", nil, 0, "hub"), []string{errorCompletion("1", streamErrorText+" HubException: for you")}},
		{streamInvocation("1", "Fails", nil, 2, "panic"), []string{streamItem("1", 0), streamItem("1", 1), errorCompletion("1", streamErrorText)}},
		{streamInvocation("1", "Fails", nil, 0, "panic hub"), []string{errorCompletion("1", streamErrorText+" HubException: for you")}},
		{streamInvocation("1", "Fails", nil, 1, "goexit"), []string{streamItem("1", 0), errorCompletion("1", streamErrorText)}},
		{streamInvocation("1", "Fails", nil, 0, "canceled"), []string{errorCompletion("1", streamErrorText)}},
		{streamInvocation("1", "Unencodable", nil, 7), []string{streamItem("1", 7), errorCompletion("1", streamErrorText)}},
		{streamInvocation("1", "Echo", nil, 1), []string{errorCompletion("1", "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation.")}},
		{invocation("1", "Count", 1), []string{errorCompletion("1", "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation.")}},
		{invocation("", "Count", 1), nil},
		{streamInvocation("1", "NoSuch", nil), []string{errorCompletion("1", "Failed to invoke 'NoSuch' due to an error on the server. HubException: Method does not exist.")}},
		{streamInvocation("1", "Count", nil, "x"), []string{errorCompletion("1", "Failed to invoke 'Count' due to an error on the server.")}},
	} {
		c.send(test.send)
		c.requireMessages(test.want...)
		c.requireNoMessages()
	}
}

// An iterator that yields when its stream is over panics, and the client gets nothing of it.
func TestYieldsBehindTheEndOfAStream(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	for method, item := range map[string]any{"LeaksYield": 0, "LeaksPoints": map[string]int{"x": 0, "y": 0}} {
		c.send(streamInvocation("1", method, nil))
		c.requireMessages(streamItem("1", item), completion("1"))
		c.send(invocation("2", "YieldAgain"))
		c.requireMessages(resultCompletion("2", true))
	}
}

func TestErrorsOfStreamsInDetail(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{EnableDetailedErrors: true})
	c := dial(t, url)
	for _, test := range []struct{ send, want string }{
		{streamInvocation("1", "Fails", nil, 0, "error"), streamErrorText + " Error: secret"},
		{streamInvocation("1", "Fails", nil, 0, "panic"), streamErrorText + " Error: panic: secret"},
		{streamInvocation("1", "Fails", nil, 0, "goexit"), streamErrorText + " Error: runtime.Goexit was called"},
		{streamInvocation("1", "StreamAndError", nil, "secret"), fmt.Sprintf(invocationErrorFormat, "StreamAndError") + " Error: secret"},
	} {
		c.send(test.send)
		c.requireMessages(errorCompletion("1", test.want))
	}
	c.send(streamInvocation("1", "Unencodable", nil, 7))
	c.requireMessages(streamItem("1", 7),
		errorCompletion("1", streamErrorText+` Error: hubsys: an item of the stream of "Unencodable" cannot be encoded: json: unsupported type: func()`))
}

func TestStreamsThatAreCanceled(t *testing.T) {
	requireNoLeaks(t)
	s, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, method := range []string{"Never", "NeverNamed", "Cleanup"} {
		c.send(streamInvocation("1", method, nil))
		s.feed <- 1
		s.feed <- 2
		c.requireMessages(streamItem("1", 1), streamItem("1", 2))
		c.send(cancelInvocation("1"))
		c.requireMessages(completion("1"))
		c.requireNoMessages()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, []string{"cleaned up"}, s.notes)
}

// A stream that the server cuts short does not look complete to its client.
func TestStreamsThatAreCutShort(t *testing.T) {
	failed := "An unexpected error occurred invoking 'NeverReturns' on the server."
	for _, method := range []string{"Returns", "ReturnsPoints", "Cleanup", "NeverNamed", "NeverReturns"} {
		for name, end := range map[string]func(s *streamState) error{
			"shutdown": func(s *streamState) error {
				ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
				defer cancel()
				return s.sys.Shutdown(ctx)
			},
			"reconnect": func(s *streamState) error { return s.hub.Clients().All().Reconnect(context.Background()) },
		} {
			t.Run(method+"/"+name, func(t *testing.T) {
				t.Parallel()
				s, url := newStreamServer(t, hubsys.HubOptions{DisconnectGrace: time.Millisecond})
				c := dial(t, url)
				c.send(streamInvocation("1", method, nil))
				s.feed <- 1
				text := failed
				if method != "NeverReturns" {
					text = streamErrorText
					c.next()
				}
				c.send(invocation("2", "Hold")) // Close waits for it
				<-s.holds
				ended := make(chan error, 1)
				go func() { ended <- end(s) }()
				c.requireMessages(errorCompletion("1", text))
				close(s.held)
				c.requireMessages(resultCompletion("2", nil), `{"type":7,"allowReconnect":true}`)
				c.close()
				_ = receive(t, ended) // nil, or that the time of the shutdown was over
			})
		}
	}
}

// A stream without pauses can be canceled, too.
func TestAStreamWithoutEndIsCanceled(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{OutboxLimit: 64 << 10})
	c := dial(t, url)
	c.send(streamInvocation("1", "Count", nil, -1))
	c.requireMessages(streamItem("1", 0), streamItem("1", 1))
	c.send(cancelInvocation("1"))
	for next := 2; ; next++ {
		r := c.next()
		if r.Type == 3 {
			require.Equal(t, completion("1"), r.raw)
			break
		}
		require.Equal(t, streamItem("1", next), r.raw)
	}
	c.requireNoMessages()
}

func TestStreamsWithOneID(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	c.send(streamInvocation("1", "Never", nil))
	s.feed <- 1
	c.requireMessages(streamItem("1", 1))
	c.send(streamInvocation("1", "Count", nil, 5))
	c.requireMessages(errorCompletion("1", "Invocation ID '1' is already in use."))
	s.feed <- 2
	c.requireMessages(streamItem("1", 2))
	c.send(cancelInvocation("1"))
	c.requireMessages(completion("1"))
	c.send(streamInvocation("1", "Count", nil, 1))
	c.requireMessages(streamItem("1", 0), completion("1"))
	c.requireNoMessages()
}

// Streams that have started do not count towards the limit of parallel calls.
func TestCallsBesideStreams(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	const streams = 50
	for i := range streams {
		c.send(streamInvocation(fmt.Sprint("s", i), "Never", nil))
	}
	for i := range 20 {
		c.send(invocation("1", "Echo", i))
		c.requireMessages(resultCompletion("1", i))
	}
	got := map[string]int{}
	for i := range 10 * streams {
		s.feed <- i
		got[c.next().raw]++
	}
	require.Len(t, got, 10*streams, "each item goes to one of them")
	for i := range streams {
		c.send(cancelInvocation(fmt.Sprint("s", i)))
		c.requireMessages(completion(fmt.Sprint("s", i)))
	}
	c.requireNoMessages()
}

func TestManyStreams(t *testing.T) {
	requireNoLeaks(t)
	_, url := newStreamServer(t, hubsys.HubOptions{})
	var clients sync.WaitGroup
	for range 4 {
		c := dial(t, url)
		clients.Go(func() {
			const streams, items = 40, 50
			for i := range streams {
				c.send(streamInvocation(strconv.Itoa(i), []string{"Count", "Points"}[i%2], nil, items))
			}
			next := [streams]int{}
			for range streams * (items + 1) {
				r, err := c.tryNext()
				if !assert.NoError(t, err) {
					return
				}
				i, _ := strconv.Atoi(r.InvocationID)
				want := streamItem(r.InvocationID, next[i])
				if i%2 == 1 {
					want = fmt.Sprintf(`{"type":2,"invocationId":"%d","item":{"x":%d,"y":%d}}`, i, next[i], -next[i])
				}
				if next[i] == items {
					want = completion(r.InvocationID)
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

// A stream to a client that does not read is paused, and ends when the client disconnects.
func TestASlowClientOfAStream(t *testing.T) {
	requireNoLeaks(t)
	sys := newSystem(t, hubsys.Config{})
	made, ended := &atomic.Int64{}, make(chan error, 1)
	hub := register(t, sys, func(context.Context) (*endlessStreamHub, error) {
		return &endlessStreamHub{made: made, ended: ended}, nil
	}, hubsys.HubOptions{OutboxLimit: 64 << 10})
	c := dialWith(t, serve(t, sys, hub), dialOptions{client: smallBufferClient})
	c.send(streamInvocation("1", "Endless", nil))
	seen := int64(0)
	for { // until the stream is paused
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
	require.Equal(t, hubsys.ErrDisconnected, receive(t, ended))
	smallBufferClient.CloseIdleConnections()
}

type endlessStreamHub struct {
	hubsys.Hub
	made  *atomic.Int64
	ended chan error
}

func (*endlessStreamHub) Echo(v any) any { return v }

func (h *endlessStreamHub) Endless(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		defer func() { h.ended <- context.Cause(ctx) }()
		for yield(strings.Repeat("x", 1000), nil) {
			h.made.Add(1)
		}
	}
}

func TestStreamsBothWays(t *testing.T) {
	requireNoLeaks(t)
	_, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	for _, method := range []string{"EchoSequence", "EchoChannel"} {
		c.send(streamInvocation("1", method, []string{"s"}), streamItem("s", point{1, 2}))
		c.requireMessages(`{"type":2,"invocationId":"1","item":{"x":1,"y":2}}`)
		c.send(streamItem("s", point{3, 4}))
		c.requireMessages(`{"type":2,"invocationId":"1","item":{"x":3,"y":4}}`)
		c.send(completion("s"))
		c.requireMessages(completion("1"))
	}
	c.send(streamInvocation("1", "Double", []string{"s"}, 2))
	for i := range 30 {
		c.send(streamItem("s", i))
		c.requireMessages(streamItem("1", 2*i))
	}
	c.send(errorCompletion("s", "my fault"))
	c.requireMessages(errorCompletion("1", streamErrorText+" HubException: my fault"))
	c.send(streamInvocation("1", "EchoSequence", []string{"s"}), errorCompletion("s", "my fault"))
	c.requireMessages(errorCompletion("1", streamErrorText+" HubException: my fault"))
	c.send(streamInvocation("1", "EchoSequence", []string{"s"}), streamItem("s", point{1, 2}))
	c.requireMessages(`{"type":2,"invocationId":"1","item":{"x":1,"y":2}}`)
	c.send(cancelInvocation("1"))
	c.requireMessages(completion("1"))
	c.send(streamItem("s", point{5, 6}), completion("s"))
	c.requireNoMessages()
}

// A channel that is closed because of the client's error completes the stream back to the client with that error.
func TestAReturnedUploadChannelThatFails(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{})
	c := dial(t, url)
	c.send(streamInvocation("1", "EchoChannel", []string{"s"}), streamItem("s", point{1, 2}))
	c.requireMessages(`{"type":2,"invocationId":"1","item":{"x":1,"y":2}}`)
	c.send(errorCompletion("s", "my fault"))
	c.requireMessages(errorCompletion("1", streamErrorText+" HubException: my fault"))
	c.send(streamInvocation("1", "LateEcho", []string{"s"}), errorCompletion("s", "my fault"))
	c.requireMessages(errorCompletion("1", streamErrorText+" HubException: my fault"))
	c.requireNoMessages()
}

func TestStreamsInMessagePack(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{})
	p := hubproto.MessagePack
	c := dialSocket(t, url, dialOptions{})
	c.send(`{"protocol":"messagepack","version":1}`)
	ctx, stop := context.WithTimeout(t.Context(), testTimeout)
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

type unsupportedStreamsHub struct{ hubsys.Hub }

func (*unsupportedStreamsHub) BothWays(chan int)                            {}
func (*unsupportedStreamsHub) SendOnly(chan<- int)                          {}
func (*unsupportedStreamsHub) Seq(iter.Seq[int])                            {}
func (*unsupportedStreamsHub) SeqOfTwo(iter.Seq2[int, string])              {}
func (*unsupportedStreamsHub) OfChannels(<-chan chan int)                   {}
func (*unsupportedStreamsHub) OfContexts(iter.Seq2[context.Context, error]) {}
func (*unsupportedStreamsHub) BackBothWays() chan int                       { return nil }
func (*unsupportedStreamsHub) BackSeq() iter.Seq[int]                       { return nil }
func (*unsupportedStreamsHub) BackOfChannels() <-chan (<-chan int)          { return nil }
func (*unsupportedStreamsHub) BackTwo() (<-chan int, <-chan int)            { return nil, nil }
func (*unsupportedStreamsHub) ErrorsBack() iter.Seq2[error, error]          { return nil }
func (*unsupportedStreamsHub) OfReaders(<-chan io.Reader)                   {}
func (*unsupportedStreamsHub) Fine(<-chan any) iter.Seq2[[]point, error]    { return nil }

func TestUnsupportedStreamTypesAreRefused(t *testing.T) {
	faults := registrationFaults[unsupportedStreamsHub](t, hidden((*unsupportedStreamsHub).ErrorsBack)...)
	var names []string
	for _, fault := range faults {
		name, _, _ := strings.Cut(strings.TrimPrefix(fault, "method "), ":")
		names = append(names, name)
	}
	require.Equal(t, []string{"BackBothWays", "BackOfChannels", "BackSeq", "BackTwo", "BothWays", "OfChannels", "OfContexts", "OfReaders", "SendOnly", "Seq", "SeqOfTwo"}, names, strings.Join(faults, "\n"))
}
