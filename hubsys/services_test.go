package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Types of services.
type (
	database struct{ Name string }
	clock    interface{ Now() string }
	stopped  string
	logFunc  func(text string)
	tenant   struct{ Name string }
	titles   map[string]string
)

func (s stopped) Now() string { return string(s) }

// serviceHub has methods with services among their parameters.
type serviceHub struct{ hubsys.Hub }

func (*serviceHub) Pointer(a int, db *database, b int) string { return fmt.Sprint(a, db.Name, b) }
func (*serviceHub) Interface(c clock) string                  { return c.Now() }
func (*serviceHub) Func(log logFunc, text string)             { log(text) }
func (*serviceHub) Struct(t tenant) string                    { return t.Name }
func (*serviceHub) Map(t titles) string                       { return t["a"] }
func (*serviceHub) Context(ctx context.Context, db *database) string {
	call, ok := hubsys.CallFrom(ctx)
	return fmt.Sprint(db.Name, ok && call.Method() == "Context")
}
func (*serviceHub) Variadic(db *database, sep string, rest ...string) string {
	return db.Name + strings.Join(rest, sep)
}
func (*serviceHub) Stream(db *database, items <-chan int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for item := range items {
			if !yield(fmt.Sprint(db.Name, item), nil) {
				return
			}
		}
	}
}

// services are the fields that a serviceHub needs.
type services struct {
	DB     *database
	Clock  clock
	Log    logFunc
	Tenant func(context.Context) (tenant, error)
	Titles titles
	hidden int //nolint:unused // not exported: no service
}

func newServices(n *notes) services {
	return services{
		DB: &database{"db"}, Clock: stopped("noon"), Log: func(text string) { n.add("%s", text) }, Titles: titles{"a": "A"},
		Tenant: func(ctx context.Context) (tenant, error) {
			call, _ := hubsys.CallFrom(ctx)
			return tenant{"tenant of " + call.Method()}, nil
		},
	}
}

func TestServicesFillParametersThatClientsDoNotSend(t *testing.T) {
	n := &notes{}
	s := newServices(n)
	for name, of := range map[string]any{"a struct": s, "a pointer": &s} {
		t.Run(name, func(t *testing.T) {
			c := dialHub[*serviceHub](t, nil, hubsys.HubOptions{Services: hubsys.Fields(of), EnableDetailedErrors: true})
			for _, test := range []struct {
				method string
				args   []any
				want   string
			}{
				{"Pointer", []any{1, 2}, `"1db2"`}, {"Interface", nil, `"noon"`}, {"Func", []any{"text"}, "null"}, {"Struct", nil, `"tenant of Struct"`}, {"Map", nil, `"A"`},
				{"Context", nil, `"dbtrue"`}, {"Variadic", []any{"-"}, `"db"`}, {"Variadic", []any{"-", "a", "b"}, `"dba-b"`},
			} {
				r := c.invoke(test.method, test.args...)
				require.Equal(t, test.want, string(r.Result), "%s: %s", test.method, r.raw)
			}
			require.Equal(t, []string{"text"}, n.take())
			c.send(streamInvocation("s", "Stream", []string{"u"}), streamItem("u", 1), completion("u"))
			c.requireMessages(streamItem("s", "db1"), completion("s"))
		})
	}
}

func TestClientsCannotFillServices(t *testing.T) {
	c := dialHub[*serviceHub](t, nil, hubsys.HubOptions{Services: hubsys.Fields(newServices(&notes{})), EnableDetailedErrors: true})
	const head = "Failed to invoke '%s' due to an error on the server. Error: Invocation provides %d argument(s) but target expects %d."
	for _, test := range []struct {
		method string
		args   []any
		want   int
	}{
		{"Pointer", []any{1, 2, database{"forged"}}, 2}, {"Struct", []any{tenant{"forged"}}, 0}, {"Interface", []any{nil}, 0}, {"Map", []any{titles{"a": "forged"}}, 0}, {"Context", []any{database{"forged"}}, 0},
	} {
		require.Equal(t, fmt.Sprintf(head, test.method, len(test.args), test.want), c.invokeError(test.method, test.args...))
	}
}

type fromHub struct{ hubsys.Hub }

func (*fromHub) Get(db hubsys.From[*database], name hubsys.From[string], tenant hubsys.From[tenant], text string) string {
	return db.Value.Name + name.Value + tenant.Value.Name + text
}
func (*fromHub) Plain(t *tenant) string { return t.Name }

func TestFromIsAServiceInAnyCase(t *testing.T) {
	of := struct {
		DB     func(context.Context) (*database, error)
		Name   string
		Tenant tenant
		Other  *tenant
	}{func(context.Context) (*database, error) { return &database{"db "}, nil }, "name ", tenant{"tenant "}, &tenant{"pointer"}}
	for name, implicit := range map[string]bool{"implicit": true, "not implicit": false} {
		t.Run(name, func(t *testing.T) {
			c := dialHub[*fromHub](t, nil, hubsys.HubOptions{Services: hubsys.Fields(of), NoImplicitServices: !implicit})
			require.Equal(t, `"db name tenant text"`, string(c.invoke("Get", "text").Result))
			if implicit {
				require.Equal(t, `"pointer"`, string(c.invoke("Plain").Result))
				c.invokeError("Plain", tenant{"sent"})
			} else {
				require.Equal(t, `"sent"`, string(c.invoke("Plain", map[string]string{"name": "sent"}).Result))
				c.invokeError("Plain")
			}
		})
	}
}

func TestRegisterReportsAFromThatNobodyProvides(t *testing.T) {
	for _, options := range []hubsys.HubOptions{{}, {Services: hubsys.Fields(struct{ Name string }{"a"})}, {Services: hubsys.Fields(struct{ Name string }{"a"}), NoImplicitServices: true}} {
		_, err := hubsys.Register[*fromHub](newSystem(t, hubsys.Config{}), nil, options)
		require.EqualError(t, err, "hubsys: hub *hubsys_test.fromHub: method Get: parameter 1: HubOptions.Services provide no *hubsys_test.database")
	}
}

type basicHub struct{ hubsys.Hub }

func (*basicHub) Basic(s string, n int, l []int, m map[string]int, b []byte) string {
	return fmt.Sprintf("%s%d %v %v %d", s, n, l, m, b)
}
func (*basicHub) Rest(rest ...*database) int { return len(rest) }
func (*basicHub) Streams(items iter.Seq2[int, error]) int {
	list, _ := collect(items)
	return len(list)
}

func TestBasicTypesListsAndStreamsAreNoImplicitServices(t *testing.T) {
	c := dialHub[*basicHub](t, nil, hubsys.HubOptions{Services: hubsys.Fields(struct {
		S  string
		N  int
		L  []int
		M  map[string]int
		B  []byte
		DB *database
		R  []*database
		I  iter.Seq2[int, error]
	}{"service", 9, []int{9}, map[string]int{"z": 9}, []byte{9}, &database{}, []*database{{}, {}, {}, {}}, func(func(int, error) bool) {}})})
	require.Equal(t, `"a1 [2] map[b:3] [1]"`, string(c.invoke("Basic", "a", 1, []int{2}, map[string]int{"b": 3}, []byte{1}).Result))
	require.Equal(t, "2", string(c.invoke("Rest", nil, database{}).Result))
	c.send(uploadInvocation("u", "Streams", []string{"s"}), streamItem("s", 1), completion("s"))
	require.Equal(t, "1", string(c.awaitCompletion("u").Result))
}

func TestFaultsOfFieldsAreReported(t *testing.T) {
	make := func(context.Context) (*database, error) { return nil, nil }
	for what, test := range map[string]struct {
		of   any
		want []string
	}{
		"no struct":     {5, []string{"Services: Fields takes a struct, not int"}},
		"nil":           {nil, []string{"Services: Fields takes a struct, not <nil>"}},
		"a nil pointer": {(*services)(nil), []string{"Services: Fields takes a struct, not *hubsys_test.services"}},
		"nil fields":    {services{}, []string{"Services: field DB of hubsys_test.services is nil", "field Clock of hubsys_test.services is nil", "field Log of hubsys_test.services is nil", "field Tenant of hubsys_test.services is nil", "field Titles of hubsys_test.services is nil"}},
		"two for one type": {struct {
			A    *database
			Make func(context.Context) (*database, error)
			B    *database
		}{&database{}, make, &database{}}, []string{"field Make of struct", "is the second one for *hubsys_test.database", "field B of struct"}},
	} {
		_, err := hubsys.Register[*serviceHub](newSystem(t, hubsys.Config{}), nil, hubsys.HubOptions{Services: hubsys.Fields(test.of)})
		require.Error(t, err, what)
		for _, want := range test.want {
			require.ErrorContains(t, err, want, what)
		}
	}
}

// serviceFunc is Services that provide *database.
type serviceFunc func(ctx context.Context) (any, error)

func (f serviceFunc) Provider(t reflect.Type) func(context.Context) (any, error) {
	if t == reflect.TypeFor[*database]() {
		return f
	}
	return nil
}

type oneServiceHub struct {
	hubsys.Hub
	notes *notes
}

func (h *oneServiceHub) Get(db *database) any    { h.notes.add("Get"); return notingJSON{h.notes} }
func (h *oneServiceHub) Fail(db *database) error { return errors.New("secret") }
func (h *oneServiceHub) Panic(db *database)      { panic("secret") }
func (h *oneServiceHub) Without()                {}
func (h *oneServiceHub) Close() error            { h.notes.add("Close"); return nil }
func (h *oneServiceHub) Items(db *database) <-chan notingJSON {
	c := make(chan notingJSON, 1)
	c <- notingJSON{h.notes}
	close(c)
	return c
}

func dialServices(t *testing.T, n *notes, create func(context.Context) (*oneServiceHub, error), provide serviceFunc) *testClient {
	t.Helper()
	if create == nil {
		create = func(context.Context) (*oneServiceHub, error) { return &oneServiceHub{notes: n}, nil }
	}
	c := dialHub(t, create, hubsys.HubOptions{Services: provide, EnableDetailedErrors: true})
	n.take()
	return c
}

func TestErrorsOfProvidersFailTheCall(t *testing.T) {
	n := &notes{}
	var provide atomic.Value // func() (any, error)
	c := dialServices(t, n, nil, func(context.Context) (any, error) { return provide.Load().(func() (any, error))() })
	const head = "An unexpected error occurred invoking 'Get' on the server."
	for _, test := range []struct {
		provide func() (any, error)
		want    string
	}{
		{func() (any, error) { return &database{}, errors.New("no database") }, head + " Error: no database"},
		{func() (any, error) { return nil, hubsys.Errorf("later") }, head + " HubException: later"},
		{func() (any, error) { return database{}, nil }, head + " Error: hubsys: the provider of *hubsys_test.database has returned a hubsys_test.database"},
		{func() (any, error) { return nil, nil }, head + " Error: hubsys: the provider of *hubsys_test.database has returned a <nil>"},
		{func() (any, error) { panic("secret") }, head + " Error: panic: secret"},
	} {
		provide.Store(test.provide)
		require.Equal(t, test.want, c.invokeError("Get"))
		require.Empty(t, n.take()) // no hub value was made
		require.Equal(t, "null", string(c.invoke("Without").Result))
		require.Equal(t, []string{"Close"}, n.take())
	}
}

func TestServicesAreReleasedWhenTheCallIsOver(t *testing.T) {
	n := &notes{}
	c := dialServices(t, n, nil, func(ctx context.Context) (any, error) {
		call, _ := hubsys.CallFrom(ctx)
		call.Cleanup(func() { n.add("release") })
		n.add("provide")
		return &database{}, nil
	})
	require.Equal(t, "1", string(c.invoke("Get").Result))
	require.Equal(t, []string{"provide", "Get", "encode", "release", "Close"}, n.take())
	for _, method := range []string{"Fail", "Panic"} {
		c.invokeError(method)
		require.Equal(t, []string{"provide", "release", "Close"}, n.take(), method)
	}
	c.send(streamInvocation("s", "Items", nil))
	c.requireMessages(streamItem("s", 1), completion("s"))
	require.Equal(t, []string{"provide", "encode", "release", "Close"}, n.take())
	c.invokeError("Get", 1)
	require.Empty(t, n.take())
}

func TestServicesOfTheDefaultsServeHubsWithoutTheirOwn(t *testing.T) {
	sys := newSystem(t, hubsys.Config{HubDefaults: hubsys.HubOptions{Services: hubsys.Fields(newServices(&notes{}))}})
	c := dial(t, serve(t, sys, register[*serviceHub](t, sys, nil, hubsys.HubOptions{})))
	require.Equal(t, `"noon"`, string(c.invoke("Interface").Result))
}

// greeter is a service that acts for the call.
type greeter struct{ call *hubsys.Call }

func (g *greeter) greet(ctx context.Context) error {
	return errors.Join(g.call.Groups().Join(ctx, "greeted"), g.call.Clients().Caller().Send(ctx, "hello"), g.call.Clients().Group("greeted").Send(ctx, "group"))
}

type greeterHub struct{ hubsys.Hub }

func (*greeterHub) Greet(ctx context.Context, g *greeter) error { return g.greet(ctx) }

func TestAServiceActsForTheCall(t *testing.T) {
	c := dialHub[*greeterHub](t, nil, hubsys.HubOptions{Services: hubsys.Fields(struct {
		Greeter func(context.Context) (*greeter, error)
	}{func(ctx context.Context) (*greeter, error) {
		call, _ := hubsys.CallFrom(ctx)
		return &greeter{call}, nil
	}})})
	r := c.invoke("Greet")
	require.Nil(t, r.Error, r.raw)
	c.requireInvocation("hello")
	c.requireInvocation("group")
}

type callHub struct{ hubsys.Hub }

func (*callHub) Call1(*hubsys.Call) {}

func TestACallIsNoParameter(t *testing.T) {
	require.Equal(t, []string{"method Call1: parameter 1: the call is no parameter: Hub.Call gives it"}, registrationFaults[callHub](t))
}
