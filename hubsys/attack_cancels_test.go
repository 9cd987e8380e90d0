package hubsys_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const cancelJSON = `{"type":5,"invocationId":"unknown"}` + separator

// The time of a cancel does not depend on the number of calls that wait.
func TestTheTimeOfACancelDoesNotDependOnTheWaitingCalls(t *testing.T) {
	const cancels = 50_000 / raceFactor
	few, many := cancelTime(t, 50, cancels), cancelTime(t, 4000, cancels)
	t.Logf("%d cancels while 50 calls wait: %v; while 4,000 do: %v", cancels, few, many)
	require.LessOrEqual(t, many, 10*few, "80 times as many calls wait")
}

// The time of cancels grows with their number, not with its square.
func TestCancelsTakeLinearTime(t *testing.T) {
	const cancels, factor = 10_000 / raceFactor, 20
	few, many := cancelTime(t, 1000, cancels), cancelTime(t, 1000, factor*cancels)
	t.Logf("%d cancels while 1,000 calls wait: %v; %d cancels: %v", cancels, few, factor*cancels, many)
	require.LessOrEqual(t, many, 5*factor*few)
}

// cancelTime returns the time that a server needs for cancels of unknown calls while other calls wait behind a running one.
func cancelTime(t *testing.T, waiting, cancels int) time.Duration {
	t.Helper()
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{InboundLimit: 16 * mib}})
	srv.handle("hold", func(ctx context.Context, _ *testHub, _ []json.RawMessage) (any, error) { <-ctx.Done(); return nil, nil })
	srv.handle("tick", func(context.Context, *testHub, []json.RawMessage) (any, error) { return nil, nil })
	batch := clientFrame(textFrame, strings.Repeat(cancelJSON, 500))
	return fastest(3, func() time.Duration {
		p := dialRawSocket(t, srv.url, "json")
		p.mustWrite(clientFrame(textFrame, holdJSON+strings.Repeat(tickJSON, waiting)) + clientFrame(pingFrame, "1"))
		for opcode := byte(0); opcode != pongFrame; { // the server has read the calls
			var err error
			opcode, _, err = p.read()
			require.NoError(t, err)
		}
		start := time.Now()
		go func() {
			_, _ = io.WriteString(p.conn, strings.Repeat(batch, cancels/500)+clientFrame(textFrame, `{"type":5,"invocationId":"hold"}`+separator))
		}()
		p.readUntil(`"invocationId":"hold"`)
		took := time.Since(start)
		require.NoError(t, p.conn.Close())
		return took
	})
}

// A call that is canceled while it waits runs with a context that is done.
func TestACallThatWaitsCanBeCanceled(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("hold", func(ctx context.Context, _ *testHub, _ []json.RawMessage) (any, error) { <-ctx.Done(); return nil, nil })
	c := dial(t, srv.url)
	cancel := func(id string) string { return `{"type":5,"invocationId":"` + id + `"}` }
	var sent []string
	for _, id := range []string{"a", "b", "c", "d"} {
		sent = append(sent, invocation(id, "Do", "hold", []any{}))
	}
	c.send(append(sent, cancel("c"), cancel("b"), cancel("d"), cancel("a"))...)
	for _, id := range []string{"a", "b", "c", "d"} {
		c.awaitCompletion(id)
	}
	c.skipped = nil
	c.requireNoMessages()
}
