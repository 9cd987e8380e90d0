package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// poll is the time between two looks at a condition.
const poll = 5 * time.Millisecond

// serveSystem serves a system, and returns its URL.
func serveSystem(t *testing.T, sys *hubsys.System) (url string) {
	t.Helper()
	server := httptest.NewServer(sys)
	t.Cleanup(server.Close)
	return server.URL
}

func TestFiltersThatCannotBeUsedAreRefused(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	pass := func(next hubsys.Handler) hubsys.Handler { return next }
	for what, test := range map[string]struct {
		options hubsys.HubOptions
		want    string
	}{
		"nil":            {hubsys.HubOptions{Filters: []hubsys.Filter{pass, nil}}, "hubsys: HubOptions: Filters[1] is nil"},
		"without Invoke": {hubsys.HubOptions{Filters: []hubsys.Filter{pass, func(hubsys.Handler) hubsys.Handler { return hubsys.Handler{} }}}, "hubsys: HubOptions.Filters has a filter that returns a Handler without Invoke"},
		"nil for sends":  {hubsys.HubOptions{SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{nil}}, "hubsys: HubOptions: SendFilters[0] is nil"},
		"no SendFunc": {hubsys.HubOptions{SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{func(hubsys.SendFunc) hubsys.SendFunc { return nil }}},
			"hubsys: HubOptions.SendFilters has a filter that returns nil"},
	} {
		test.options.Name = "hub"
		_, err := hubsys.Register[*filterHub](sys, nil, test.options)
		require.EqualError(t, err, test.want, what)
		_, err = hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: func(context.Context, *hubsys.Invocation) (any, error) { return nil, nil }}, test.options)
		require.EqualError(t, err, test.want, what)
	}
	_, err := hubsys.New(hubsys.Config{HubDefaults: hubsys.HubOptions{Filters: []hubsys.Filter{nil}}})
	require.EqualError(t, err, "hubsys: Config: HubDefaults: hubsys: HubOptions: Filters[0] is nil")
	_, err = hubsys.Register[*filterHub](sys, nil, hubsys.HubOptions{Name: "hub"}) // the name was not used up
	require.NoError(t, err)
}

func TestNoFunctionThatAFilterGetsIsNil(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	check := func(next hubsys.Handler) hubsys.Handler {
		require.NotNil(t, next.Invoke)
		require.NotNil(t, next.Connected)
		require.NotNil(t, next.Disconnected)
		require.NotNil(t, next.Refreshed)
		return hubsys.Handler{Invoke: next.Invoke}
	}
	_, err := hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: func(context.Context, *hubsys.Invocation) (any, error) { return nil, nil }},
		hubsys.HubOptions{Name: "hub", Filters: []hubsys.Filter{check, check}})
	require.NoError(t, err)
}

func TestAFilterThatReplacesOneFunctionLeavesTheOthers(t *testing.T) {
	n := &notes{}
	for what, test := range map[string]struct {
		replace func(*hubsys.Handler)
		want    []string
	}{
		"Invoke": {func(h *hubsys.Handler) {
			h.Invoke = func(context.Context, *hubsys.Invocation) (any, error) { return "replaced", nil }
		}, []string{"OnConnected", `"replaced"`, "OnDisconnected"}},
		"Connected": {func(h *hubsys.Handler) { h.Connected = func(context.Context) error { n.add("replaced"); return nil } }, []string{"replaced", "Add(1, 2)", "3", "OnDisconnected"}},
		"Disconnected": {func(h *hubsys.Handler) {
			h.Disconnected = func(context.Context, error) error { n.add("replaced"); return nil }
		}, []string{"OnConnected", "Add(1, 2)", "3", "replaced"}},
		"Refreshed": {func(h *hubsys.Handler) { h.Refreshed = func(context.Context) error { return nil } }, []string{"OnConnected", "Add(1, 2)", "3", "OnDisconnected"}},
	} {
		t.Run(what, func(t *testing.T) {
			n.take()
			c := dialHub(t, func(context.Context) (*filterHub, error) { return &filterHub{notes: n}, nil }, hubsys.HubOptions{
				Filters: []hubsys.Filter{func(next hubsys.Handler) hubsys.Handler { test.replace(&next); return next }},
			})
			n.add("%s", c.invoke("Add", 1, 2).Result)
			c.close()
			var got []string
			require.Eventually(t, func() bool { got = append(got, n.take()...); return len(got) >= len(test.want) }, testTimeout, poll)
			require.Equal(t, test.want, got)
		})
	}
}

func TestAFilterRefusesAConnection(t *testing.T) {
	n := &notes{}
	sys := newSystem(t, hubsys.Config{})
	refuse := func(next hubsys.Handler) hubsys.Handler {
		next.Connected = func(context.Context) error { return hubsys.Errorf("closed today") }
		return next
	}
	hub := register(t, sys, func(context.Context) (*filterHub, error) { return &filterHub{notes: n}, nil }, hubsys.HubOptions{Filters: []hubsys.Filter{noting(n, "a"), refuse}})
	c := dialHandshake(t, serve(t, sys, hub), dialOptions{})
	r := c.next()
	require.Equal(t, 7, r.Type, r.raw)
	require.Contains(t, *r.Error, "HubException: closed today")
	c.requireClosed()
	require.Equal(t, []string{"a>connected", "a<"}, n.take())
}

func TestTheContextOfAConnectionReachesTheHubThroughFilters(t *testing.T) {
	got := make(chan any, 2)
	filter := func(next hubsys.Handler) hubsys.Handler {
		connected, disconnected := next.Connected, next.Disconnected
		next.Connected = func(ctx context.Context) error { return connected(context.WithValue(ctx, filterKey{}, "connected")) }
		next.Disconnected = func(ctx context.Context, cause error) error {
			return disconnected(context.WithValue(ctx, filterKey{}, "disconnected"), errors.Join(cause, errors.New("changed")))
		}
		return next
	}
	srv := newTestServer(t, testConfig{
		HubOptions:  hubsys.HubOptions{Filters: []hubsys.Filter{filter}},
		onConnected: func(ctx context.Context, _ *testHub) error { got <- ctx.Value(filterKey{}); return nil },
		onDisconnected: func(ctx context.Context, _ *testHub, cause error) error {
			got <- fmt.Sprint(ctx.Value(filterKey{}), ": ", cause)
			return nil
		},
	})
	c := dial(t, srv.url)
	require.Equal(t, "connected", receive(t, got))
	c.close()
	require.Equal(t, "disconnected: changed", receive(t, got))
}

func TestCallsThatDoNotReachTheirMethodDoNotReachFilters(t *testing.T) {
	n := &notes{}
	refuse := func(context.Context, *hubsys.Principal) error { return errors.New("no") }
	c, _ := dialFiltered(t, hubsys.HubOptions{
		Filters: []hubsys.Filter{noting(n, "a")},
		Methods: []hubsys.Method{{Func: (*filterHub).Fail, Hidden: true}, {Func: (*filterHub).FailForClient, Policy: refuse}},
	})
	n.take()
	for _, call := range []string{
		invocation("1", "Unknown"), invocation("1", "Fail"), invocation("1", "FailForClient"), invocation("1", "Add", 1), invocation("1", "Add", 1, "two"), invocation("1", "Add", 1, 2, 3),
		invocation("1", "Count", 1), streamInvocation("1", "Add", nil, 1, 2), invocation("1", "Sum", 1), uploadInvocation("1", "Nothing", []string{"s"}), invocation("1", "Join"),
	} {
		c.send(call)
		require.NotNil(t, c.awaitCompletion("1").Error, call)
	}
	require.Empty(t, n.take())
}

func TestWhatAnInvocationTellsAFilter(t *testing.T) {
	n := &notes{}
	c, _ := dialFiltered(t, hubsys.HubOptions{
		Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
			call, ok := hubsys.CallFrom(ctx)
			h, isHub := in.Hub().(*filterHub)
			n.add("%s %s %v %v %v %v", in.Method(), in.Call().Method(), in.Streaming(), ok && call == in.Call(), isHub && h.Call() == in.Call(), in.Args())
			return next(ctx, in)
		})},
		Methods: []hubsys.Method{{Func: (*filterHub).Renamed, Name: "other"}},
	})
	c.invoke("ADD", 1, 2)
	require.Equal(t, `"other"`, string(c.invoke("OTHER").Result))
	c.invoke("Join", "-")
	c.invoke("Join", "-", "a", "b")
	c.send(uploadInvocation("sum", "Sum", []string{"s"}, 2), completion("s"))
	c.awaitCompletion("sum")
	c.send(streamInvocation("count", "Count", nil, 0))
	c.awaitCompletion("count")
	require.Equal(t, []string{
		"Add Add false true true [1 2]", "other other false true true []", "Join Join false true true [- []]", "Join Join false true true [- [a b]]",
		"Sum Sum false true true [2]", "Count Count true true true [0]",
	}, n.take())
}

func TestAFilterWrapsAStream(t *testing.T) {
	n := &notes{}
	c, _ := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		result, err := next(ctx, in)
		items, ok := result.(iter.Seq2[int, error])
		if !ok {
			return result, err
		}
		defer n.add("returned")
		return iter.Seq2[string, error](func(yield func(string, error) bool) {
			defer n.add("ended")
			for item, err := range items {
				if !yield(fmt.Sprint("item ", item), err) {
					return
				}
			}
		}), nil
	})}})
	c.send(streamInvocation("1", "Count", nil, 3))
	c.requireMessages(streamItem("1", "item 0"), streamItem("1", "item 1"), streamItem("1", "item 2"), completion("1"))
	require.Equal(t, []string{"returned", "ended"}, n.take())
}

func TestStreamsOfFilters(t *testing.T) {
	var result atomic.Value // func() any
	c, n := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(context.Context, *hubsys.Invocation, invokeFunc) (any, error) {
		return result.Load().(func() any)(), nil
	})}})
	const noStream = "The value returned by the streaming method 'Count' is not a ChannelReader<> or IAsyncEnumerable<>."
	for what, test := range map[string]struct {
		result any
		want   []string
	}{
		"a channel":    {func() <-chan string { c := make(chan string, 1); c <- "a"; close(c); return c }(), []string{streamItem("1", "a"), completion("1")}},
		"nil":          {nil, []string{errorCompletion("1", noStream)}},
		"a nil stream": {iter.Seq2[int, error](nil), []string{errorCompletion("1", noStream)}},
		"no stream":    {5, []string{errorCompletion("1", noStream)}},
		"a stream that fails": {iter.Seq2[int, error](func(yield func(int, error) bool) { yield(0, hubsys.Errorf("over")) }),
			[]string{errorCompletion("1", streamErrorText+" HubException: over")}},
	} {
		t.Run(what, func(t *testing.T) {
			result.Store(func() any { return test.result })
			c.send(streamInvocation("1", "Count", nil, 3))
			for _, want := range test.want {
				require.Equal(t, want, c.next().raw)
			}
		})
	}
	require.Empty(t, n.take())
}

func TestUploadsPassThroughFilters(t *testing.T) {
	n := &notes{}
	c, _ := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{noting(n, "a")}})
	n.take()
	c.send(uploadInvocation("1", "Sum", []string{"s"}, 10), streamItem("s", 1), streamItem("s", 2), completion("s"))
	require.Equal(t, "30", string(c.awaitCompletion("1").Result))
	require.Equal(t, []string{"a>Sum", "a<"}, n.take())
}

func TestAFilterOfConnectionsPassesOnADerivedContext(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	forget := func(next hubsys.Handler) hubsys.Handler {
		connected := next.Connected
		next.Connected = func(context.Context) error { return connected(context.Background()) }
		return next
	}
	hub := register(t, sys, func(context.Context) (*filterHub, error) { return &filterHub{}, nil }, hubsys.HubOptions{Filters: []hubsys.Filter{forget}, EnableDetailedErrors: true})
	c := dialHandshake(t, serve(t, sys, hub), dialOptions{})
	r := c.next()
	require.Equal(t, 7, r.Type, r.raw)
	require.Contains(t, *r.Error, "Error: hubsys: a filter has passed on a context that is not derived from that of the call")
	c.requireClosed()
}

// What a filter of connections leaves to clean up is cleaned up when the filter has returned.
func TestCleanupsOfAFilterOfConnectionsRunBehindIt(t *testing.T) {
	n := &notes{}
	clean := func(ctx context.Context) {
		call, _ := hubsys.CallFrom(ctx)
		call.Cleanup(func() { n.add("cleanup") })
	}
	filter := func(next hubsys.Handler) hubsys.Handler {
		connected, disconnected := next.Connected, next.Disconnected
		next.Connected = func(ctx context.Context) error {
			clean(ctx)
			defer n.add("filter is over")
			return connected(ctx)
		}
		next.Disconnected = func(ctx context.Context, cause error) error {
			clean(ctx)
			defer n.add("filter is over")
			return disconnected(ctx, cause)
		}
		return next
	}
	c := dialHub(t, func(context.Context) (*filterHub, error) { return &filterHub{notes: n}, nil }, hubsys.HubOptions{Filters: []hubsys.Filter{filter}})
	require.Equal(t, []string{"OnConnected", "filter is over", "cleanup"}, n.take())
	c.close()
	require.Eventually(t, func() bool { return n.count() == 3 }, testTimeout, poll)
	require.Equal(t, []string{"OnDisconnected", "filter is over", "cleanup"}, n.take())
}
