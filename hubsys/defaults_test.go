package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// optionsOf returns the options of a registered hub, with its defaults.
func optionsOf(hub *hubsys.HubContext) reflect.Value {
	return reflect.ValueOf(hub).Elem().FieldByName("options")
}

// endpointOptionsOf returns the options of a mapped endpoint, with its defaults.
func endpointOptionsOf(sys *hubsys.System, path string) reflect.Value {
	return reflect.ValueOf(sys).Elem().FieldByName("endpoints").MapIndex(reflect.ValueOf(path)).Elem().FieldByName("options")
}

// sample returns a value of an option that is not zero, is valid, and differs for each n.
func sample(t *testing.T, field reflect.StructField, n int) reflect.Value {
	t.Helper()
	v := reflect.New(field.Type).Elem()
	switch field.Name {
	case "Protocols":
		v.Set(reflect.ValueOf([][]hubproto.Protocol{{hubproto.JSON}, {hubproto.MessagePack}}[n]))
	case "Services":
		v.Set(reflect.ValueOf(hubsys.Fields(&struct{ A *int }{new(int)})))
	case "Transports":
		v.Set(reflect.ValueOf([]hubsys.Transports{hubsys.WebSockets, hubsys.LongPolling}[n]))
	case "AllowedOrigins":
		v.Set(reflect.ValueOf([]string{[]string{"https://a.example", "https://b.example"}[n]}))
	case "AllowedHosts":
		v.Set(reflect.ValueOf([]string{[]string{"a.example", "b.example"}[n]}))
	case "Authenticate":
		v.Set(reflect.ValueOf(principalOf))
	case "AllowOrigin":
		v.Set(reflect.ValueOf(func(*http.Request, string) bool { return false }))
	case "Subprotocol":
		v.Set(reflect.ValueOf(func([]string) string { return "" }))
	case "Refresh":
		v.Set(reflect.ValueOf(&hubsys.RefreshOptions{MaximumLifetime: time.Duration(n+1) * time.Second}))
	case "ClientTimeoutInterval":
		v.SetInt(int64(time.Hour) + int64(n)) // more than the default of KeepAliveInterval
	default:
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Uint8:
			v.SetUint(uint64(n + 1))
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(100_000 + n)) // nanoseconds, bytes, or a number
		default:
			require.Failf(t, "a field without a sample", "%s %s", field.Name, field.Type)
		}
	}
	return v
}

// sameOption reports whether two options are the same. Functions are compared by their code.
func sameOption(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Func: // those of an endpoint are guarded against panics
		return a.IsNil() == b.IsNil()
	case reflect.Pointer:
		return a.Pointer() == b.Pointer()
	case reflect.Interface:
		return sameOption(a.Elem(), b.Elem())
	case reflect.Slice:
		same := a.Len() == b.Len()
		for i := 0; same && i < a.Len(); i++ {
			same = sameOption(a.Index(i), b.Index(i))
		}
		return same
	}
	return a.Equal(b)
}

// Each option of a hub is taken from HubDefaults if it is zero, and overrides it otherwise.
func TestDefaultsOfHubs(t *testing.T) {
	fields := reflect.VisibleFields(reflect.TypeFor[hubsys.HubOptions]())
	for _, field := range fields {
		switch field.Name {
		case "Name", "Methods", "Policy", "Filters", "SendFilters": // see below
			continue
		}
		t.Run(field.Name, func(t *testing.T) {
			var defaults, own hubsys.HubOptions
			set := func(o *hubsys.HubOptions, n int) reflect.Value {
				f := reflect.ValueOf(o).Elem().FieldByIndex(field.Index)
				f.Set(sample(t, field, n))
				return f
			}
			want := set(&defaults, 0)
			sys := newSystem(t, hubsys.Config{HubDefaults: defaults})
			own.Name = "zero"
			hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, own)
			require.True(t, sameOption(want, optionsOf(hub).FieldByIndex(field.Index)), "the default")
			own.Name = "own"
			want = set(&own, 1)
			hub = register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, own)
			require.True(t, sameOption(want, optionsOf(hub).FieldByIndex(field.Index)), "the hub's own")
			for _, other := range fields { // nothing else has changed
				if other.Name != field.Name && other.Name != "Name" {
					require.True(t, optionsOf(hub).FieldByIndex(other.Index).IsZero(), other.Name)
				}
			}
		})
	}
}

func TestDefaultsOfEndpoints(t *testing.T) {
	fields := reflect.VisibleFields(reflect.TypeFor[hubsys.EndpointOptions]())
	for _, field := range fields {
		t.Run(field.Name, func(t *testing.T) {
			var defaults, own hubsys.EndpointOptions
			set := func(o *hubsys.EndpointOptions, n int) reflect.Value {
				f := reflect.ValueOf(o).Elem().FieldByIndex(field.Index)
				f.Set(sample(t, field, n))
				if field.Name == "Refresh" { // which needs it
					o.Authenticate = principalOf
				}
				return f
			}
			want := set(&defaults, 0)
			sys := newSystem(t, hubsys.Config{EndpointDefaults: defaults})
			hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
			require.NoError(t, hub.Map("/zero", own))
			require.True(t, sameOption(want, endpointOptionsOf(sys, "/zero").FieldByIndex(field.Index)), "the default")
			want = set(&own, 1)
			require.NoError(t, hub.Map("/own", own))
			require.True(t, sameOption(want, endpointOptionsOf(sys, "/own").FieldByIndex(field.Index)), "the endpoint's own")
			for _, other := range fields {
				if other.Name != field.Name && (other.Name != "Authenticate" || field.Name != "Refresh") {
					require.True(t, endpointOptionsOf(sys, "/own").FieldByIndex(other.Index).IsZero(), other.Name)
				}
			}
		})
	}
}

// An empty list that is not nil is no default.
func TestEmptyListsOverrideDefaults(t *testing.T) {
	sys := newSystem(t, hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{AllowedHosts: []string{"a.example"}}})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/restricted", hubsys.EndpointOptions{}))
	require.NoError(t, hub.Map("/open", hubsys.EndpointOptions{AllowedHosts: []string{}}))
	require.Equal(t, http.StatusMisdirectedRequest, serveRequest(sys, http.MethodPost, "/restricted/negotiate", "", nil).Code)
	require.Equal(t, http.StatusOK, serveRequest(sys, http.MethodPost, "/open/negotiate", "", nil).Code)
}

func TestDefaultsAreInEffect(t *testing.T) {
	sys := newSystem(t, hubsys.Config{
		HubDefaults:      hubsys.HubOptions{EnableDetailedErrors: true, MaximumReceiveMessageSize: 100, Policy: hubsys.RequireUser},
		EndpointDefaults: hubsys.EndpointOptions{Authenticate: principalOf, Transports: hubsys.WebSockets},
	})
	hub := register(t, sys, func(context.Context) (*policyHub, error) { return &policyHub{}, nil }, hubsys.HubOptions{})
	address := serve(t, sys, hub)
	status, _ := post(t, address+"/negotiate", nil)
	require.Equal(t, http.StatusUnauthorized, status)
	_, body := post(t, address+"/negotiate", userHeader("ada"))
	require.Contains(t, body, `"availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]`)
	c := dialWith(t, address, dialOptions{header: userHeader("ada")})
	require.Contains(t, c.invokeError("Guarded", "x"), "Error: ")
	c.send(invocation("1", "Open", strings.Repeat("x", 100)))
	require.Contains(t, c.next().raw, "The maximum message size of 100B was exceeded.")
}

// Filters of HubDefaults are around those of the hub, in both directions.
func TestDefaultsOfFilters(t *testing.T) {
	order := make(chan string, 100)
	filter := func(name string) hubsys.Filter {
		return func(next hubsys.Handler) hubsys.Handler {
			invoke := next.Invoke
			next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
				order <- name
				return invoke(ctx, in)
			}
			return next
		}
	}
	sendFilter := func(name string) func(hubsys.SendFunc) hubsys.SendFunc {
		return func(next hubsys.SendFunc) hubsys.SendFunc {
			return func(ctx context.Context, out *hubsys.Outgoing) error {
				order <- name
				return next(ctx, out)
			}
		}
	}
	defaults := hubsys.HubOptions{
		Filters:     []hubsys.Filter{filter("default 1"), filter("default 2")},
		SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{sendFilter("send default")},
	}
	sys := newSystem(t, hubsys.Config{HubDefaults: defaults})
	server := httptest.NewServer(sys)
	t.Cleanup(server.Close)
	for _, test := range []struct {
		options hubsys.HubOptions
		want    []string
	}{
		{hubsys.HubOptions{Name: "none"}, []string{"default 1", "default 2", "send default"}},
		{hubsys.HubOptions{Name: "own", Filters: []hubsys.Filter{filter("own")}, SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{sendFilter("send own")}},
			[]string{"default 1", "default 2", "own", "send default", "send own"}},
		{hubsys.HubOptions{Name: "again", Filters: []hubsys.Filter{filter("other")}}, []string{"default 1", "default 2", "other", "send default"}},
	} {
		srv := &testServer{t: t, actions: map[string]hubAction{}}
		srv.handle("send", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
			return nil, h.Clients().Caller().Send(ctx, "sent")
		})
		hub := register(t, sys, func(context.Context) (*testHub, error) { return &testHub{srv: srv}, nil }, test.options)
		require.NoError(t, hub.Map("/"+test.options.Name, hubsys.EndpointOptions{}))
		c := dial(t, server.URL+"/"+test.options.Name)
		c.do("send")
		var got []string
		for len(order) > 0 {
			got = append(got, <-order)
		}
		require.Equal(t, test.want, got)
	}
	require.Len(t, defaults.Filters, 2)
}

func TestFaultsOfDefaults(t *testing.T) {
	for _, test := range []struct {
		config hubsys.Config
		want   string
	}{
		{hubsys.Config{HubDefaults: hubsys.HubOptions{Name: "x"}}, "HubDefaults has a Name or Methods, which are options of one hub"},
		{hubsys.Config{HubDefaults: hubsys.HubOptions{Methods: []hubsys.Method{{Name: "x"}}}}, "HubDefaults has a Name or Methods, which are options of one hub"},
		{hubsys.Config{HubDefaults: hubsys.HubOptions{OutboxLimit: 1}}, "HubDefaults: hubsys: HubOptions: OutboxLimit is 1: it is at least 65536 bytes and at most 2 GiB, or 0 for the default"},
		{hubsys.Config{HubDefaults: hubsys.HubOptions{Filters: []hubsys.Filter{nil}}}, "HubDefaults: hubsys: HubOptions: Filters[0] is nil"},
		{hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{PollTimeout: -1}}, "EndpointDefaults: hubsys: EndpointOptions: PollTimeout is -1ns: it is not negative"},
	} {
		require.EqualError(t, test.config.Validate(), "hubsys: Config: "+test.want)
		_, err := hubsys.New(test.config)
		require.EqualError(t, err, "hubsys: Config: "+test.want)
	}
}

// What is right in the defaults and in the options can be wrong together.
func TestDefaultsAndOptionsThatContradict(t *testing.T) {
	sys := newSystem(t, hubsys.Config{
		HubDefaults:      hubsys.HubOptions{KeepAliveInterval: 10 * time.Second},
		EndpointDefaults: hubsys.EndpointOptions{AllowedOrigins: []string{"*"}},
	})
	create := func(context.Context) (*base, error) { return &base{}, nil }
	_, err := hubsys.Register(sys, create, hubsys.HubOptions{ClientTimeoutInterval: 5 * time.Second})
	require.ErrorContains(t, err, "KeepAliveInterval is 10s, and ClientTimeoutInterval 5s")
	hub := register(t, sys, create, hubsys.HubOptions{})
	require.ErrorContains(t, hub.Map("/hub", hubsys.EndpointOptions{AllowCredentials: true}), `origin "*" cannot be allowed together with credentials`)
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{AllowCredentials: true, AllowedOrigins: []string{"https://app.example"}}))
}
