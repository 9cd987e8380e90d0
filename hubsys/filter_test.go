package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// notes records what has happened, in its order.
type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, fmt.Sprintf(format, args...))
}

// take returns what was recorded since the last time.
func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

func (n *notes) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.list)
}

// filterHub is a hub for filters.
type filterHub struct {
	hubsys.Hub
	notes *notes
}

type filterKey struct{}

func (h *filterHub) Add(a, b int) int                            { h.notes.add("Add(%d, %d)", a, b); return a + b }
func (h *filterHub) FromContext(ctx context.Context) any         { return ctx.Value(filterKey{}) }
func (h *filterHub) Fail() error                                 { return errors.New("secret") }
func (h *filterHub) FailForClient() error                        { return hubsys.Errorf("for the client") }
func (h *filterHub) Panic()                                      { panic("secret") }
func (h *filterHub) Nothing()                                    {}
func (h *filterHub) Join(sep string, rest ...string) string      { return strings.Join(rest, sep) }
func (h *filterHub) Point(p *point, q point) []any               { return []any{p, q} }
func (h *filterHub) List(l []int, m map[string]int, v any) []any { return []any{l, m, v} }
func (h *filterHub) Sum(by int, items <-chan int) (n int)        { return by * sumOf(items) }
func (h *filterHub) Renamed() string                             { return h.Call().Method() }
func (h *filterHub) OnConnected(context.Context) error           { h.notes.add("OnConnected"); return nil }
func (h *filterHub) OnDisconnected(context.Context, error) error {
	h.notes.add("OnDisconnected")
	return nil
}
func (h *filterHub) OnAuthenticationRefreshed(context.Context) error {
	h.notes.add("OnRefreshed")
	return nil
}

func (h *filterHub) Count(n int) iter.Seq2[int, error] {
	h.notes.add("Count(%d)", n)
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func sumOf(items <-chan int) (n int) {
	for item := range items {
		n += item
	}
	return n
}

// invokeFunc is Handler.Invoke.
type invokeFunc = func(ctx context.Context, in *hubsys.Invocation) (any, error)

// filterFunc is an Invoke that gets the next one.
type filterFunc = func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error)

// around makes a filter that has to do with calls.
func around(f filterFunc) hubsys.Filter {
	return func(next hubsys.Handler) hubsys.Handler {
		inner := next.Invoke
		next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) { return f(ctx, in, inner) }
		return next
	}
}

// noting makes a filter that records what passes through it.
func noting(n *notes, name string) hubsys.Filter {
	return func(next hubsys.Handler) hubsys.Handler {
		return hubsys.Handler{
			Invoke: func(ctx context.Context, in *hubsys.Invocation) (any, error) {
				n.add("%s>%s", name, in.Method())
				defer n.add("%s<", name)
				return next.Invoke(ctx, in)
			},
			Connected: func(ctx context.Context) error {
				n.add("%s>connected", name)
				defer n.add("%s<", name)
				return next.Connected(ctx)
			},
			Disconnected: func(ctx context.Context, cause error) error {
				n.add("%s>disconnected", name)
				defer n.add("%s<", name)
				return next.Disconnected(ctx, cause)
			},
			Refreshed: func(ctx context.Context) error {
				n.add("%s>refreshed", name)
				defer n.add("%s<", name)
				return next.Refreshed(ctx)
			},
		}
	}
}

// dialFiltered serves a filterHub, and connects a client.
func dialFiltered(t *testing.T, options hubsys.HubOptions) (*testClient, *notes) {
	t.Helper()
	n := &notes{}
	c := dialHub(t, func(context.Context) (*filterHub, error) { return &filterHub{notes: n}, nil }, options)
	n.take()
	return c, n
}

// dialHub serves a hub, and connects a client.
func dialHub[H hubsys.Instance](t *testing.T, create func(context.Context) (H, error), options hubsys.HubOptions) *testClient {
	t.Helper()
	sys := newSystem(t, hubsys.Config{})
	return dial(t, serve(t, sys, register(t, sys, create, options)))
}

func TestTheFirstFilterIsTheOutermostAndThoseOfTheDefaultsAreAroundThem(t *testing.T) {
	n := &notes{}
	sys := newSystem(t, hubsys.Config{HubDefaults: hubsys.HubOptions{Filters: []hubsys.Filter{noting(n, "a"), noting(n, "b")}}})
	hub := register(t, sys, func(context.Context) (*filterHub, error) { return &filterHub{notes: n}, nil },
		hubsys.HubOptions{Filters: []hubsys.Filter{noting(n, "c"), noting(n, "d")}})
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{
		Authenticate: func(*http.Request) (*hubsys.Principal, error) { return &hubsys.Principal{UserID: "ada"}, nil },
		Refresh:      &hubsys.RefreshOptions{},
	}))
	url := serveSystem(t, sys) + "/hub"
	passing := func(what, inner string) []string {
		return []string{"a>" + what, "b>" + what, "c>" + what, "d>" + what, inner, "d<", "c<", "b<", "a<"}
	}
	_, token := negotiate(t, url, nil)
	c := dialWith(t, url+"?id="+token, dialOptions{})
	require.Equal(t, passing("connected", "OnConnected"), n.take())

	require.Equal(t, "3", string(c.invoke("Add", 1, 2).Result))
	require.Equal(t, passing("Add", "Add(1, 2)"), n.take())

	status, body := post(t, url+"/refresh?id="+token, nil)
	require.Equal(t, http.StatusOK, status, body)
	c.invokeError("unknown") // runs behind the refresh
	require.Equal(t, passing("refreshed", "OnRefreshed"), n.take())

	c.close()
	want := passing("disconnected", "OnDisconnected")
	var got []string
	require.Eventually(t, func() bool { got = append(got, n.take()...); return len(got) >= len(want) }, testTimeout, poll)
	require.Equal(t, want, got)
}

func TestFiltersOfTheDefaultsAreThoseOfEveryHub(t *testing.T) {
	n := &notes{}
	defaults := []hubsys.Filter{noting(n, "default")}
	sys := newSystem(t, hubsys.Config{HubDefaults: hubsys.HubOptions{Filters: slices.Grow(defaults, 10)}})
	create := func(context.Context) (*filterHub, error) { return &filterHub{notes: n}, nil }
	for _, name := range []string{"one", "two"} { // the filters of one hub are not those of the other
		hub := register(t, sys, create, hubsys.HubOptions{Name: name, Filters: []hubsys.Filter{noting(n, name)}})
		require.NoError(t, hub.Map("/"+name, hubsys.EndpointOptions{}))
	}
	none := register(t, sys, create, hubsys.HubOptions{Name: "none"})
	require.NoError(t, none.Map("/none", hubsys.EndpointOptions{}))
	url := serveSystem(t, sys)
	for name, want := range map[string][]string{
		"one":  {"default>Nothing", "one>Nothing", "one<", "default<"},
		"two":  {"default>Nothing", "two>Nothing", "two<", "default<"},
		"none": {"default>Nothing", "default<"},
	} {
		c := dial(t, url+"/"+name)
		n.take()
		c.invoke("Nothing")
		require.Equal(t, want, n.take())
		c.close()
		require.Eventually(t, func() bool { return slices.Contains(n.take(), "default<") }, testTimeout, poll)
	}
}

func TestAFilterChangesTheContext(t *testing.T) {
	c, _ := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		return next(context.WithValue(ctx, filterKey{}, "from the filter"), in)
	})}})
	require.Equal(t, `"from the filter"`, string(c.invoke("FromContext").Result))
}

func TestAFilterChangesTheArguments(t *testing.T) {
	var change atomic.Value // func(*hubsys.Invocation)
	c, _ := dialFiltered(t, hubsys.HubOptions{EnableDetailedErrors: true, Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		change.Load().(func(*hubsys.Invocation))(in)
		return next(ctx, in)
	})}})
	set := func(args ...any) func(*hubsys.Invocation) {
		return func(in *hubsys.Invocation) { copy(in.Args(), args) }
	}
	one := []any{1, 2}
	for _, test := range []struct {
		what, method string
		args         []any
		change       func(*hubsys.Invocation)
		want         string
	}{
		{"not at all", "Add", one, func(in *hubsys.Invocation) { _ = in.Args() }, "3"},
		{"both", "Add", one, set(10, 20), "30"},
		{"nil is zero", "Add", one, set(nil, 20), "20"},
		{"the last change counts", "Add", one, func(in *hubsys.Invocation) { in.Args()[0] = "no"; in.Args()[0] = 5 }, "7"},
		{"a pointer", "Point", []any{point{1, 2}, point{3, 4}}, func(in *hubsys.Invocation) { in.Args()[0].(*point).X = 9 }, `[{"x":9,"y":2},{"x":3,"y":4}]`},
		{"nil for a pointer and a struct", "Point", []any{point{1, 2}, point{3, 4}}, set(nil, nil), `[null,{"x":0,"y":0}]`},
		{"a list, a map and any", "List", []any{[]int{1}, map[string]int{"a": 1}, "v"}, set([]int{2}, nil, point{5, 6}), `[[2],null,{"x":5,"y":6}]`},
		{"remaining arguments", "Join", []any{"-", "a", "b"}, set("+", []string{"x", "y", "z"}), `"x+y+z"`},
		{"no remaining arguments", "Join", []any{"-", "a", "b"}, set("+", nil), `""`},
		{"beside a stream", "Sum", []any{3}, set(7), "0"},
	} {
		change.Store(test.change)
		if test.method == "Sum" {
			c.send(uploadInvocation("sum", "Sum", []string{"s"}, test.args...), completion("s"))
			require.Equal(t, test.want, string(c.awaitCompletion("sum").Result), test.what)
			continue
		}
		r := c.invoke(test.method, test.args...)
		require.Equal(t, test.want, string(r.Result), "%s: %s", test.what, r.raw)
	}
	for what, test := range map[string]struct {
		change func(*hubsys.Invocation)
		want   string
	}{
		"another type":         {set(1, "two"), "hubsys: a filter has put a string in the place of argument 2 of Add, which is a int"},
		"a type that converts": {set(int64(1)), "hubsys: a filter has put a int64 in the place of argument 1 of Add, which is a int"},
	} {
		change.Store(test.change)
		require.Equal(t, "An unexpected error occurred invoking 'Add' on the server. Error: "+test.want, c.invokeError("Add", 1, 2), what)
	}
}

// The memory of parameters is used again for later calls, but not what filters have got of it.
func TestArgumentsThatAFilterKeepsStayAsTheyWere(t *testing.T) {
	type kept struct {
		args []any
		want string
	}
	var mu sync.Mutex
	var all []kept
	c, _ := dialFiltered(t, hubsys.HubOptions{MaximumParallelInvocationsPerClient: 8, Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		args := in.Args()
		want := fmt.Sprint(args, args[0])
		if p, ok := args[0].(*point); ok {
			want += fmt.Sprint(*p)
		}
		result, err := next(ctx, in)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, kept{args, want})
		return result, err
	})}})
	const rounds = 150
	for i := range rounds {
		c.send(invocation(fmt.Sprint("a", i), "Add", i, -i), invocation(fmt.Sprint("p", i), "Point", point{i, i + 1}, point{i, i}),
			invocation(fmt.Sprint("l", i), "List", []int{i, i + 1}, map[string]int{"n": i}, []any{i}), invocation(fmt.Sprint("j", i), "Join", "-", fmt.Sprint(i), "x", "y"))
	}
	for range 4 * rounds {
		r := c.next()
		require.Nil(t, r.Error, r.raw)
		switch id := r.InvocationID; id[0] {
		case 'a':
			require.Equal(t, "0", string(r.Result))
		case 'p':
			require.Contains(t, string(r.Result), `[{"x":`+id[1:]+`,`)
		case 'l':
			require.Contains(t, string(r.Result), `{"n":`+id[1:]+`}`)
		case 'j':
			require.Equal(t, `"`+id[1:]+`-x-y"`, string(r.Result))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, all, 4*rounds)
	for _, k := range all {
		got := fmt.Sprint(k.args, k.args[0])
		if p, ok := k.args[0].(*point); ok {
			got += fmt.Sprint(*p)
		}
		require.Equal(t, k.want, got)
	}
}

func TestAFilterDecidesAboutTheResult(t *testing.T) {
	var invoke atomic.Value // filterFunc
	c, n := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		return invoke.Load().(filterFunc)(ctx, in, next)
	})}})
	const generic = "An unexpected error occurred invoking 'Add' on the server."
	for _, test := range []struct {
		what   string
		invoke filterFunc
		result string
		err    string
		calls  int
	}{
		{"another value", func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
			sum, err := next(ctx, in)
			return fmt.Sprint("sum ", sum), err
		}, `"sum 3"`, "", 1},
		{"nil", func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
			_, err := next(ctx, in)
			return nil, err
		}, "null", "", 1},
		{"without the method", func(context.Context, *hubsys.Invocation, invokeFunc) (any, error) { return 5, nil }, "5", "", 0},
		{"the method twice", func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
			first, err := next(ctx, in)
			if err != nil {
				return nil, err
			}
			in.Args()[0] = first
			return next(ctx, in)
		}, "5", "", 2},
		{"an error", func(context.Context, *hubsys.Invocation, invokeFunc) (any, error) { return 1, errors.New("secret") }, "", generic, 0},
		{"an error for the client", func(context.Context, *hubsys.Invocation, invokeFunc) (any, error) {
			return nil, hubsys.Errorf("not now")
		}, "", generic + " HubException: not now", 0},
		{"an error behind the method", func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
			_, err := next(ctx, in)
			return 1, errors.Join(err, errors.New("secret"))
		}, "", generic, 1},
		{"a value without an encoding", func(context.Context, *hubsys.Invocation, invokeFunc) (any, error) { return func() {}, nil }, "", generic, 0},
	} {
		invoke.Store(test.invoke)
		r := c.invoke("Add", 1, 2)
		if test.err == "" {
			require.Equal(t, test.result, string(r.Result), "%s: %s", test.what, r.raw)
		} else {
			require.NotNil(t, r.Error, test.what)
			require.Equal(t, test.err, *r.Error, test.what)
		}
		require.Len(t, n.take(), test.calls, test.what)
	}
}

func TestErrorsAndPanicsOfMethodsPassThroughFilters(t *testing.T) {
	n := &notes{}
	seen := around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (result any, err error) {
		returned := false
		defer func() { n.add("%v %v", returned, err) }()
		result, err = next(ctx, in)
		returned = true
		return result, err
	})
	c, _ := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{seen}})
	const head = "An unexpected error occurred invoking '"
	require.Equal(t, head+"Fail' on the server.", c.invokeError("Fail"))
	require.Equal(t, head+"FailForClient' on the server. HubException: for the client", c.invokeError("FailForClient"))
	require.Equal(t, head+"Panic' on the server.", c.invokeError("Panic"))
	require.Equal(t, "null", string(c.invoke("Nothing").Result))
	require.Equal(t, []string{"true secret", "true for the client", "false <nil>", "true <nil>"}, n.take())
}

func TestAFilterThatPanicsEndsOneCall(t *testing.T) {
	c, _ := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		if in.Method() == "Add" {
			panic("secret")
		}
		return next(ctx, in)
	})}})
	require.Equal(t, "An unexpected error occurred invoking 'Add' on the server.", c.invokeError("Add", 1, 2))
	require.Equal(t, "null", string(c.invoke("Nothing").Result))
}

func TestAFilterRecoversFromAPanicOfTheMethod(t *testing.T) {
	c, _ := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (_ any, err error) {
		defer func() {
			if reason := recover(); reason != nil {
				err = hubsys.Errorf("it panicked")
			}
		}()
		return next(ctx, in)
	})}})
	require.Equal(t, "An unexpected error occurred invoking 'Panic' on the server. HubException: it panicked", c.invokeError("Panic"))
	require.Equal(t, "3", string(c.invoke("Add", 1, 2).Result))
}
