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

// newIdleServer returns a server that keeps clients that never poll.
func newIdleServer(t *testing.T) *testServer {
	return newTestServer(t, testConfig{
		HubOptions:      hubsys.HubOptions{OutboxLimit: 64 * mib},
		EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Hour, CloseTimeout: quickClose},
	})
}

// dialIdleMany connects clients that never poll, and returns their connection IDs.
func dialIdleMany(t *testing.T, srv *testServer, n int) (ids []string) {
	t.Helper()
	for range n {
		ids = append(ids, dialIdle(t, srv.sys, "/test"))
	}
	return ids
}

// unknownIDs returns IDs of connections that do not exist.
func unknownIDs(n int) (ids []string) {
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
	const many, excluded, tolerance = 500, 20_000, 30
	srv := newIdleServer(t)
	join := func(ids []string) {
		for _, id := range ids {
			require.NoError(t, srv.hub.Groups().Add(t.Context(), id, "group"))
		}
	}
	audiences := map[string]func(ids ...string) hubsys.Audience{
		"AllExcept":   srv.hub.Clients().AllExcept,
		"GroupExcept": func(ids ...string) hubsys.Audience { return srv.hub.Clients().GroupExcept("group", ids...) },
	}
	ids, onlyIDs := unknownIDs(excluded), map[string]time.Duration{}
	join(dialIdleMany(t, srv, 1))
	for name, audience := range audiences {
		onlyIDs[name] = sendTime(t, audience(ids...))
	}
	join(dialIdleMany(t, srv, many-1))
	for name, audience := range audiences {
		onlyMembers, both := sendTime(t, audience("none")), sendTime(t, audience(ids...))
		t.Logf("%s: %v for the IDs, %v for the members, %v for both", name, onlyIDs[name], onlyMembers, both)
		require.LessOrEqual(t, both, tolerance*(onlyIDs[name]+onlyMembers), name)
	}
}

// The time of a send to many connections grows with their number, not with its square.
func TestSendingToConnectionsTakesLinearTime(t *testing.T) {
	const few, factor, tolerance = 500, 32, 16
	srv := newIdleServer(t)
	present := dialIdleMany(t, srv, 100)
	to := func(n int) hubsys.Audience { return srv.hub.Clients().Clients(append(unknownIDs(n), present...)...) }
	small, large := sendTime(t, to(few)), sendTime(t, to(factor*few))
	t.Logf("%d IDs: %v; %d IDs: %v", few, small, factor*few, large)
	require.LessOrEqual(t, large, tolerance*factor*small)
}

// A client whose ID is listed several times receives a message once. A client that is excluded does not receive it.
func TestAListedClientReceivesAMessageOnce(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	a, idA := dialWithID(t, srv.url, nil)
	b, idB := dialWithID(t, srv.url, nil)
	many := unknownIDs(3000)
	ids := append(append(append([]string{idA}, many...), idB, idA), many...)
	require.NoError(t, srv.hub.Clients().Clients(append(ids, idB)...).Send(t.Context(), "once"))
	require.NoError(t, srv.hub.Clients().AllExcept(append(many, idA, idA)...).Send(t.Context(), "b"))
	require.NoError(t, srv.hub.Clients().AllExcept(append([]string{idB}, many...)...).Send(t.Context(), "a"))
	a.requireInvocation("once")
	a.requireInvocation("a")
	a.requireNoMessages()
	b.requireInvocation("once")
	b.requireInvocation("b")
	b.requireNoMessages()
}

// A send to very many IDs does not block other senders and receivers.
func TestASendToVeryManyIDsBlocksNoOtherSend(t *testing.T) {
	srv := newTestServer(t, testConfig{
		HubOptions:      hubsys.HubOptions{DisconnectGrace: 100 * time.Millisecond},
		EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose},
	})
	ids := unknownIDs(50_000 / raceFactor)
	srv.handle("many", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		for ctx.Err() == nil {
			if err := srv.hub.Clients().Clients(ids...).Send(ctx, "many"); err != nil {
				return nil, nil
			}
			if err := h.Clients().AllExcept(ids...).Send(ctx, "few"); err != nil {
				return nil, nil
			}
		}
		return nil, nil
	})
	c, id := dialWithID(t, srv.url, nil)
	for range 2 {
		busy := dial(t, srv.url)
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
		require.NoError(t, srv.hub.Clients().Client(id).Send(t.Context(), "mine", i))
		require.Equal(t, `"here"`, string(c.invoke("Echo", "here").Result))
		require.NoError(t, srv.hub.Groups().Add(t.Context(), id, fmt.Sprint("group ", i)))
	}
	c.close()
}
