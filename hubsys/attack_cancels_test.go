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

// A cancel costs the same however many calls wait: what it does is found, not searched for.
func TestACancelCostsTheSameHoweverManyCallsWait(t *testing.T) {
	few, many := cancelTime(t, 50, 100_000), cancelTime(t, 3000, 100_000)
	t.Logf("100,000 cancels while 50 calls wait: %v; while 3,000 do: %v", few, many)
	require.LessOrEqual(t, many, 4*few, "sixty times as many wait")
}

// Cancels take as long as there are.
func TestCancelsTakeAsLongAsThereAre(t *testing.T) {
	few, many := cancelTime(t, 1000, 25_000), cancelTime(t, 1000, 100_000)
	t.Logf("25,000 cancels while 1,000 calls wait: %v; 100,000: %v", few, many)
	require.LessOrEqual(t, many, 12*few, "four times as many come")
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
