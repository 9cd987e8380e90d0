package hubsys_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestMessagesOfConcurrentSendersStayInOrder(t *testing.T) {
	const burst, senders, each = 5000, 100, 100 / raceFactor
	srv := newTestServer(t, testConfig{})
	started := make(chan struct{})
	srv.handle("burst", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		close(started)
		for i := range burst {
			if err := h.Clients().Caller().Send(ctx, "mine", i); err != nil {
				return nil, err
			}
		}
		return burst, nil
	})
	c, id := dialWithID(t, srv.url, nil)
	call := c.call("Do", "burst", []any{})
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			<-started
			for i := range each {
				assert.NoError(t, srv.hub.Clients().Client(id).Send(context.Background(), "theirs", s, i))
			}
		})
	}
	mine, theirs, answered := 0, make([]int, senders), false
	for read := 0; read < burst+senders*each+1; read++ {
		raw, err := c.read()
		require.NoError(t, err)
		var s, i int
		switch {
		case strings.HasPrefix(raw, `{"type":1,"target":"mine"`):
			require.Equal(t, serverInvocation("mine", mine), raw)
			mine++
		case strings.HasPrefix(raw, `{"type":1,"target":"theirs"`):
			_, err := fmt.Sscanf(raw, `{"type":1,"target":"theirs","arguments":[%d,%d]}`, &s, &i)
			require.NoError(t, err)
			require.Equal(t, theirs[s], i, "of sender %d", s)
			theirs[s]++
		default:
			require.Equal(t, `{"type":3,"invocationId":"`+call+`","result":5000}`, raw)
			require.Equal(t, burst, mine, "the result overtook messages")
			answered = true
		}
	}
	require.True(t, answered)
	all.Wait()
	c.requireNoMessages()
}

func TestALoopOfSendsDisconnectsNoClientThatReads(t *testing.T) {
	const clients, sends = 10, 10000 / raceFactor
	lost := make(chan error, clients)
	srv := newTestServer(t, testConfig{onDisconnected: func(_ context.Context, _ *testHub, cause error) error {
		lost <- cause
		return nil
	}})
	var all sync.WaitGroup
	for range clients {
		c := dial(t, srv.url)
		all.Go(func() { readInOrder(t, c, 0, sends, "") })
	}
	for i := range sends {
		require.NoError(t, srv.hub.Clients().All().Send(context.Background(), "n", i, ""))
	}
	all.Wait()
	require.Empty(t, lost)
}

// readInOrder reads the messages of a loop of sends, from number first to number last-1.
func readInOrder(t *testing.T, c *testClient, first, last int, payload string) {
	for i := first; i < last; i++ {
		raw, err := c.read()
		if !assert.NoError(t, err, "after %d messages", i) || !assert.Equal(t, serverInvocation("n", i, payload), raw) {
			return
		}
	}
}

// The completion of a call is sent before the next call returns: here the next call waits for the client to receive that completion.
func TestACompletionIsSentBeforeTheNextCallReturns(t *testing.T) {
	for _, parallel := range []int{1, 2} {
		t.Run(fmt.Sprint("parallel=", parallel), func(t *testing.T) {
			srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumParallelInvocationsPerClient: parallel}})
			seen := make(chan struct{})
			srv.handle("wait", func(ctx context.Context, _ *testHub, _ []json.RawMessage) (any, error) {
				select {
				case <-seen:
				case <-ctx.Done():
				}
				return "seen", context.Cause(ctx)
			})
			c := dial(t, srv.url)
			c.send(invocation("quick", "Echo", 1), invocation("slow", "Do", "wait", []any{}))
			require.Equal(t, `{"type":3,"invocationId":"quick","result":1}`, c.next().raw)
			close(seen)
			require.Equal(t, `{"type":3,"invocationId":"slow","result":"seen"}`, c.next().raw)
		})
	}
}

func TestOnlyClientsThatStopReadingAreDisconnected(t *testing.T) {
	testClientsThatStopReading(t, testConfig{}, manyClients)
}

func TestOnlyClientsThatStopReadingAreDisconnectedOverTLS(t *testing.T) {
	testClientsThatStopReading(t, testConfig{tls: true}, 40)
}

func testClientsThatStopReading(t *testing.T, s testConfig, clients int) {
	const stuck, size, pause = 3, 2000, 32 // after each batch of so many messages, clients that read have received all of it
	const limit, sends = 256 << 10, 256 << 10 / size * 2
	s.OutboxLimit, s.TransportSendTimeout = limit, time.Hour
	s.configure = useSmallWriteBuffers
	causes := make(chan error, clients)
	var names sync.Map
	s.onDisconnected = func(_ context.Context, h *testHub, cause error) error {
		names.Store(h.Call().Request().Query("name"), true)
		causes <- cause
		return nil
	}
	srv := newTestServer(t, s)
	healthy, slow := &http.Client{Transport: &http.Transport{}}, smallBufferClient
	if s.tls {
		healthy, slow = insecureClient(healthy), insecureClient(smallBufferClient)
	}
	payload := strings.Repeat("x", size)
	var cs []*testClient
	for i := range clients {
		if i < stuck {
			dialWith(t, fmt.Sprint(srv.url, "?name=stuck", i), dialOptions{client: slow})
			continue
		}
		cs = append(cs, dialWith(t, srv.url+"?name=healthy", dialOptions{client: healthy}))
	}
	for first := 0; first < sends || len(causes) < stuck; first += pause { // who takes nothing has a second, and holds senders at four times the limit alone
		last := first + pause
		for i := first; i < last; i++ {
			require.NoError(t, srv.hub.Clients().All().Send(context.Background(), "n", i, payload))
		}
		var all sync.WaitGroup
		for _, c := range cs {
			all.Go(func() { readInOrder(t, c, first, last, payload) })
		}
		all.Wait()
	}
	for range stuck {
		require.ErrorIs(t, receive(t, causes), hubsys.ErrSlowClient)
	}
	require.Empty(t, causes)
	names.Range(func(name, _ any) bool {
		assert.Contains(t, name, "stuck")
		return true
	})
}

// insecureClient returns a copy of an HTTP client that accepts the certificate of the test server.
func insecureClient(c *http.Client) *http.Client {
	transport := c.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig = testTLS
	return &http.Client{Transport: transport}
}

var testTLS = &tls.Config{InsecureSkipVerify: true}

// A client that keeps reading is not disconnected, however many calls send at once: the senders wait for room in its outbox.
func TestConcurrentBroadcastsDisconnectNoClientThatReads(t *testing.T) {
	const clients, size, limit = 20, 25_000, 256 << 10 // the messages are twice OutboxLimit together
	lost := make(chan error, clients)
	srv := newTestServer(t, testConfig{
		HubOptions:     hubsys.HubOptions{OutboxLimit: limit},
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { lost <- cause; return nil },
	})
	payload := strings.Repeat("x", size)
	srv.handle("talk", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return nil, h.Clients().All().Send(ctx, "heard", payload)
	})
	var cs []*testClient
	for range clients {
		cs = append(cs, dial(t, srv.url))
	}
	var all sync.WaitGroup
	done := make(chan struct{})
	for _, c := range cs {
		c.call("Do", "talk", []any{})
		all.Go(func() {
			for range clients + 1 {
				if _, err := c.read(); err != nil {
					return
				}
			}
		})
	}
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
		require.Empty(t, lost)
	case err := <-lost:
		require.NoError(t, err, "a healthy client was disconnected")
	}
}
