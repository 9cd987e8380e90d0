package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// withCall runs f in a call of a client.
func withCall(t *testing.T, srv *testServer, c *testClient, f func(call *hubsys.Call)) {
	t.Helper()
	srv.handle("f", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) { f(h.Call()); return nil, nil })
	c.do("f")
}

func TestItemsBelongToAConnection(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c, other := dial(t, srv.url), dial(t, srv.url)
	room := hubsys.Item[string]("room")
	withCall(t, srv, c, func(call *hubsys.Call) {
		value, ok := room.Load(call)
		require.False(t, ok)
		require.Empty(t, value)
		room.Store(call, "lobby")
	})
	withCall(t, srv, c, func(call *hubsys.Call) {
		value, ok := room.Load(call)
		require.True(t, ok)
		require.Equal(t, "lobby", value)
		require.Equal(t, "lobby", room.LoadOrMake(call, func() string { panic("not called") }))
		room.Store(call, "")
		_, ok = room.Load(call)
		require.True(t, ok)
	})
	withCall(t, srv, other, func(call *hubsys.Call) {
		_, ok := room.Load(call)
		require.False(t, ok)
	})
	withCall(t, srv, c, func(call *hubsys.Call) {
		room.Delete(call)
		room.Delete(call)
		_, ok := room.Load(call)
		require.False(t, ok)
		require.Equal(t, "made", room.LoadOrMake(call, func() string { return "made" }))
	})
}

func TestItemsOfOneNameAreApartByTheirTypes(t *testing.T) {
	type named string
	srv := newTestServer(t, testConfig{})
	c := dial(t, srv.url)
	withCall(t, srv, c, func(call *hubsys.Call) {
		hubsys.Item[string]("a").Store(call, "text")
		hubsys.Item[named]("a").Store(call, "named")
		hubsys.Item[int]("a").Store(call, 1)
		hubsys.Item[any]("a").Store(call, nil)
		hubsys.Item[error]("a").Store(call, nil)
		hubsys.Item[string]("b").Store(call, "other")
		call.Items().Store("a", "plain")

		text, _ := hubsys.Item[string]("a").Load(call)
		require.Equal(t, "text", text)
		other, _ := hubsys.Item[named]("a").Load(call)
		require.Equal(t, named("named"), other)
		number, _ := hubsys.Item[int]("a").Load(call)
		require.Equal(t, 1, number)
		value, ok := hubsys.Item[any]("a").Load(call)
		require.True(t, ok)
		require.Nil(t, value)
		failure, ok := hubsys.Item[error]("a").Load(call)
		require.True(t, ok)
		require.NoError(t, failure)
		hubsys.Item[string]("a").Delete(call)
		_, ok = hubsys.Item[int]("a").Load(call)
		require.True(t, ok)
		_, ok = hubsys.Item[float64]("a").Load(call)
		require.False(t, ok)
	})
}

func TestOfSeveralItemsThatAreMadeAtOnceOneCounts(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c := dial(t, srv.url)
	withCall(t, srv, c, func(call *hubsys.Call) {
		counter := hubsys.Item[*atomic.Int32]("counter")
		start := make(chan struct{})
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				<-start
				counter.LoadOrMake(call, func() *atomic.Int32 { return new(atomic.Int32) }).Add(1)
			})
		}
		close(start)
		all.Wait()
		n, ok := counter.Load(call)
		require.True(t, ok)
		require.EqualValues(t, 50, n.Load())
	})
}

func TestItemsLiveUntilOnDisconnected(t *testing.T) {
	visits := hubsys.Item[int]("visits")
	seen := make(chan int, 1)
	srv := newTestServer(t, testConfig{
		onConnected: func(_ context.Context, h *testHub) error { visits.Store(h.Call(), 1); return nil },
		onDisconnected: func(_ context.Context, h *testHub, _ error) error {
			n, _ := visits.Load(h.Call())
			seen <- n
			return nil
		},
	})
	c := dial(t, srv.url)
	withCall(t, srv, c, func(call *hubsys.Call) { n, _ := visits.Load(call); visits.Store(call, n+1) })
	c.close()
	require.Equal(t, 2, receive(t, seen))
}

func TestItemsStayWhenCredentialsAreRefreshed(t *testing.T) {
	visits := hubsys.Item[int]("visits")
	users := make(chan string, 1)
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			return &hubsys.Principal{UserID: "ada", Value: r.Header.Get("Authorization")}, nil
		},
		Refresh: &hubsys.RefreshOptions{},
	}})
	_, token := negotiate(t, srv.url, nil)
	c := dialWith(t, srv.url+"?id="+token, dialOptions{})
	for i := range 3 {
		withCall(t, srv, c, func(call *hubsys.Call) {
			n, _ := visits.Load(call)
			require.Equal(t, i, n)
			visits.Store(call, n+1)
			users <- call.Principal().Value.(string)
		})
		want := ""
		if i > 0 {
			want = fmt.Sprint("Bearer ", i)
		}
		require.Equal(t, want, receive(t, users))
		status, body := post(t, srv.url+"/refresh?id="+token, http.Header{"Authorization": {fmt.Sprint("Bearer ", i+1)}})
		require.Equal(t, http.StatusOK, status, body)
	}
}
