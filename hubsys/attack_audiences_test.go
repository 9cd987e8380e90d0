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
		EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Hour},
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

// sendTime is how long a message takes.
func sendTime(t *testing.T, to func() hubsys.Audience) time.Duration {
	t.Helper()
	return fastest(20, func() time.Duration {
		start := time.Now()
		require.NoError(t, to().Send(context.Background(), "n"))
		return time.Since(start)
	})
}

// Four times the members and four times the exceptions take about four times as long, not sixteen.
func TestExceptionsAreLookedUp(t *testing.T) {
	w := newCrowd(t)
	except := func(ids []string) func() hubsys.Audience {
		return func() hubsys.Audience { return w.hub.Clients().AllExcept(ids...) }
	}
	group := func(ids []string) func() hubsys.Audience {
		return func() hubsys.Audience { return w.hub.Clients().GroupExcept("group", ids...) }
	}
	join := func(ids []string) {
		for _, id := range ids {
			require.NoError(t, w.hub.Groups().Add(t.Context(), id, "group"))
		}
	}
	join(members(t, w, 1000))
	small, smallGroup := sendTime(t, except(strangers(500))), sendTime(t, group(strangers(500)))
	join(members(t, w, 3000))
	large, largeGroup := sendTime(t, except(strangers(2000))), sendTime(t, group(strangers(2000)))
	t.Logf("1,000 members and 500 exceptions: %v, in a group %v; 4,000 and 2,000: %v, in a group %v", small, smallGroup, large, largeGroup)
	require.LessOrEqual(t, large, 12*small)
	require.LessOrEqual(t, largeGroup, 12*smallGroup)
}

// Four times the ids take about four times as long.
func TestManyClientsTakeAsLongAsThereAre(t *testing.T) {
	w := newCrowd(t)
	present := members(t, w, 100)
	clients := func(n int) func() hubsys.Audience {
		ids := append(strangers(n), present...)
		return func() hubsys.Audience { return w.hub.Clients().Clients(ids...) }
	}
	small, large := sendTime(t, clients(12_500)), sendTime(t, clients(50_000))
	t.Logf("12,500 ids: %v; 50,000: %v", small, large)
	require.LessOrEqual(t, large, 12*small)
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
	ids := strangers(50_000)
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
	for i := range 30 {
		require.NoError(t, w.hub.Clients().Client(id).Send(t.Context(), "mine", i))
		require.Equal(t, `"here"`, string(c.invoke("Echo", "here").Result))
		require.NoError(t, w.hub.Groups().Add(t.Context(), id, fmt.Sprint("group ", i)))
	}
	c.leave()
}
