package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// pendingInvocations counts calls of a method that waits for a result of its client.
type pendingInvocations struct {
	srv                           *testServer
	running, maxRunning, returned atomic.Int64
}

const askJSON = `{"type":1,"target":"Do","arguments":["question",[]]}` + separator

func newPendingInvocations(t *testing.T, pending int) *pendingInvocations {
	q := &pendingInvocations{srv: newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumPendingResults: pending, InboundLimit: 16 * mib}})}
	q.srv.handle("question", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		now := q.running.Add(1)
		defer q.returned.Add(1)
		defer q.running.Add(-1)
		for seen := q.maxRunning.Load(); now > seen && !q.maxRunning.CompareAndSwap(seen, now); seen = q.maxRunning.Load() {
		}
		return hubsys.Invoke[int](ctx, h.Clients().Caller(), "ask")
	})
	return q
}

// sendCalls sends calls, and returns when the server has read them and has had time to exceed the limit.
func (q *pendingInvocations) sendCalls(calls int) *testClient {
	q.srv.t.Helper()
	c, bystander := dial(q.srv.t, q.srv.url), dial(q.srv.t, q.srv.url)
	for range calls / 50 {
		c.sendRaw(strings.Repeat(askJSON, 50))
	}
	eventually(q.srv.t, func() bool { return q.running.Load() > 0 }, "a call is pending")
	for range 200 {
		bystander.requireNoMessages()
	}
	return c
}

// A call that waits for a result of its client allows the next call to start, up to MaximumPendingResults.
func TestPendingResultsAreLimited(t *testing.T) {
	const calls = 5000 / raceFactor
	for _, pending := range []int{1, 3} {
		t.Run(fmt.Sprint("pending=", pending), func(t *testing.T) {
			q := newPendingInvocations(t, pending)
			before := runtime.NumGoroutine()
			c := q.sendCalls(calls)
			limit := int64(pending + 1) // the last one waits for a free slot
			require.LessOrEqual(t, q.maxRunning.Load(), limit, "calls at once")
			require.LessOrEqual(t, runtime.NumGoroutine(), before+50, "goroutines")
			for range calls { // each result lets the next call continue
				r := c.next()
				require.Equal(t, "ask", r.Target, r.raw)
				c.send(`{"type":3,"invocationId":"` + r.InvocationID + `","result":1}`)
			}
			eventually(t, func() bool { return q.returned.Load() == calls }, "all calls have returned")
			require.LessOrEqual(t, q.maxRunning.Load(), limit, "calls at once")
			c.requireNoMessages()
		})
	}
}

// The default of MaximumPendingResults is 100.
func TestTheDefaultOfMaximumPendingResultsIsAHundred(t *testing.T) {
	q := newPendingInvocations(t, 0)
	q.sendCalls(5000 / raceFactor)
	eventually(t, func() bool { return q.running.Load() >= 100 }, "a hundred calls are pending")
	require.LessOrEqual(t, q.maxRunning.Load(), int64(101), "calls at once")
}

// Calls that wait for results of a client, and their goroutines, end when the client disconnects.
func TestPendingResultsEndWithTheirConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) { // goroutines of other tests must not be counted
		q := newPendingInvocations(t, 50)
		newClientSet(q.srv, 1).requireWorking()
		before := runtime.NumGoroutine()
		c := q.sendCalls(5000 / raceFactor)
		_ = c.ws.CloseNow()
		eventually(t, func() bool { return q.running.Load() == 0 }, "no call runs")
		eventually(t, func() bool { return runtime.NumGoroutine() <= before+20 }, "goroutines: %d before", before)
		require.LessOrEqual(t, q.maxRunning.Load(), int64(51), "calls at once")
	})
}

// Each client has its own limit.
func TestPendingResultsAreLimitedPerClient(t *testing.T) {
	q := newPendingInvocations(t, 1)
	q.sendCalls(100)
	c := dial(t, q.srv.url)
	id := c.call("Do", "question", []any{})
	r := c.next()
	require.Equal(t, "ask", r.Target, r.raw)
	c.send(`{"type":3,"invocationId":"` + r.InvocationID + `","result":7}`)
	require.Equal(t, "7", string(c.awaitCompletion(id).Result))
}
