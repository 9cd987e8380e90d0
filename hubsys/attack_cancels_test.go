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

const cancelJSON = `{"type":5,"invocationId":"nobody"}` + separator

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

// cancelTime is how long a server takes for cancels of nothing while calls wait behind one that runs.
func cancelTime(t *testing.T, waiting, cancels int) time.Duration {
	t.Helper()
	w := newWorld(t, setup{HubOptions: hubsys.HubOptions{InboundLimit: 16 * mib}})
	w.on("hold", func(ctx context.Context, _ *lab, _ []json.RawMessage) (any, error) { <-ctx.Done(); return nil, nil })
	w.on("tick", func(context.Context, *lab, []json.RawMessage) (any, error) { return nil, nil })
	batch := masked(textFrame, strings.Repeat(cancelJSON, 500))
	return fastest(3, func() time.Duration {
		p := socket(t, w.url, "json")
		p.mustWrite(masked(textFrame, holdJSON+strings.Repeat(tickJSON, waiting)) + masked(pingFrame, "1"))
		for opcode := byte(0); opcode != pongFrame; { // the calls have been read
			var err error
			opcode, _, err = p.read()
			require.NoError(t, err)
		}
		start := time.Now()
		go func() {
			_, _ = io.WriteString(p.conn, strings.Repeat(batch, cancels/500)+masked(textFrame, `{"type":5,"invocationId":"hold"}`+separator))
		}()
		p.answered(`"invocationId":"hold"`)
		took := time.Since(start)
		require.NoError(t, p.conn.Close())
		return took
	})
}

// Calls that a client has canceled while they waited are not run with a context that has not ended.
func TestACallThatWaitsCanBeCanceled(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("hold", func(ctx context.Context, _ *lab, _ []json.RawMessage) (any, error) { <-ctx.Done(); return nil, nil })
	c := dial(t, w.url)
	cancel := func(id string) string { return `{"type":5,"invocationId":"` + id + `"}` }
	var sent []string
	for _, id := range []string{"a", "b", "c", "d"} {
		sent = append(sent, invocation(id, "Do", "hold", []any{}))
	}
	c.send(append(sent, cancel("c"), cancel("b"), cancel("d"), cancel("a"))...)
	for _, id := range []string{"a", "b", "c", "d"} {
		c.await(id)
	}
	c.aside = nil
	c.quiet()
}
