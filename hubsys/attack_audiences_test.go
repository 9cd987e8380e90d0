package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// newCrowd is a world with members that take nothing, and are not missed for it.
func newCrowd(t *testing.T) *world {
	return newWorld(t, setup{
		HubOptions:      hubsys.HubOptions{OutboxLimit: 64 * mib},
		EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Hour, CloseTimeout: quickClose},
	})
}

// members opens more of them.
func members(t *testing.T, w *world, n int) (ids []string) {
	t.Helper()
	for range n {
		ids = append(ids, member(t, w.sys, "/lab"))
	}
	return ids
}

// strangers are ids of no connection.
func strangers(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%022d", i))
	}
	return ids
}

// sendTime returns the time that a message takes, the shortest of several tries.
func sendTime(t *testing.T, to hubsys.Audience) time.Duration {
	t.Helper()
	return fastest(10, func() time.Duration {
		start := time.Now()
		require.NoError(t, to.Send(context.Background(), "n"))
		return time.Since(start)
	})
}

// The time of a send grows with the sum of the numbers of members and of excluded IDs, not with their product: with 500 members and
// 20,000 IDs the product would take a hundred times as long as the sum.
func TestExcludedConnectionsAreLookedUp(t *testing.T) {
	const many, excluded, tolerance = 500, 20_000, 10
	w := newCrowd(t)
	join := func(ids []string) {
		for _, id := range ids {
			require.NoError(t, w.hub.Groups().Add(t.Context(), id, "group"))
		}
	}
	audiences := map[string]func(ids ...string) hubsys.Audience{
		"AllExcept":   w.hub.Clients().AllExcept,
		"GroupExcept": func(ids ...string) hubsys.Audience { return w.hub.Clients().GroupExcept("group", ids...) },
	}
	ids, onlyIDs := strangers(excluded), map[string]time.Duration{}
	join(members(t, w, 1))
	for name, audience := range audiences {
		onlyIDs[name] = sendTime(t, audience(ids...))
	}
	join(members(t, w, many-1))
	for name, audience := range audiences {
		onlyMembers, both := sendTime(t, audience("none")), sendTime(t, audience(ids...))
		t.Logf("%s: %v for the IDs, %v for the members, %v for both", name, onlyIDs[name], onlyMembers, both)
		require.LessOrEqual(t, both, tolerance*(onlyIDs[name]+onlyMembers), name)
	}
}

// The time of a send to many connections grows with their number, not with its square.
func TestSendingToConnectionsTakesLinearTime(t *testing.T) {
	const few, factor, tolerance = 500, 32, 6
	w := newCrowd(t)
	present := members(t, w, 100)
	to := func(n int) hubsys.Audience { return w.hub.Clients().Clients(append(strangers(n), present...)...) }
	small, large := sendTime(t, to(few)), sendTime(t, to(factor*few))
	t.Logf("%d IDs: %v; %d IDs: %v", few, small, factor*few, large)
	require.LessOrEqual(t, large, tolerance*factor*small)
}

// Who is named twice, or in another order, gets a message once; who is excepted gets none.
func TestManyClientsAreReachedOnce(t *testing.T) {
	w := newWorld(t, setup{})
	a, idA := dialID(t, w.url, nil)
	b, idB := dialID(t, w.url, nil)
	many := strangers(3000)
	ids := append(append(append([]string{idA}, many...), idB, idA), many...)
	require.NoError(t, w.hub.Clients().Clients(append(ids, idB)...).Send(t.Context(), "once"))
	require.NoError(t, w.hub.Clients().AllExcept(append(many, idA, idA)...).Send(t.Context(), "b"))
	require.NoError(t, w.hub.Clients().AllExcept(append([]string{idB}, many...)...).Send(t.Context(), "a"))
	a.got("once")
	a.got("a")
	a.quiet()
	b.got("once")
	b.got("b")
	b.quiet()
}

// While a message to very many ids is on its way, others send and are sent to.
func TestAMessageToVeryManyHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t, setup{})
	ids := strangers(50_000 / raceFactor)
	w.on("many", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
		for ctx.Err() == nil {
			if err := w.hub.Clients().Clients(ids...).Send(ctx, "many"); err != nil {
				return nil, nil
			}
			if err := h.Clients().AllExcept(ids...).Send(ctx, "few"); err != nil {
				return nil, nil
			}
		}
		return nil, nil
	})
	c, id := dialID(t, w.url, nil)
	for range 2 {
		busy := dial(t, w.url)
		busy.call("Do", "many", []any{})
		go func() {
			for {
				if _, err := busy.read(); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() { _ = busy.ws.CloseNow() })
	}
	for i := range 30 / raceFactor {
		require.NoError(t, w.hub.Clients().Client(id).Send(t.Context(), "mine", i))
		require.Equal(t, `"here"`, string(c.invoke("Echo", "here").Result))
		require.NoError(t, w.hub.Groups().Add(t.Context(), id, fmt.Sprint("group ", i)))
	}
	c.leave()
}
