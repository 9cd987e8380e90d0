package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// policyHub is a hub with methods that have policies.
type policyHub struct{ hubsys.Hub }

func (*policyHub) Open() string      { return "open" }
func (*policyHub) Guarded(n int) int { return n }
func (*policyHub) Renamed() string   { return "renamed" }
func (*policyHub) Panics() string    { return "ran" }
func (*policyHub) Sum(s iter.Seq2[int, error]) (n int) {
	for i := range s {
		n += i
	}
	return n
}
func (*policyHub) Count() iter.Seq2[int, error] {
	return func(yield func(int, error) bool) { yield(1, nil) }
}

// servePolicies serves a policyHub at /hub whose users come from principalOf, and returns its URL.
func servePolicies(t *testing.T, config hubsys.Config, options hubsys.HubOptions) (address string) {
	t.Helper()
	config.EndpointDefaults.Authenticate = principalOf
	sys := newSystem(t, config)
	return serve(t, sys, register(t, sys, func(context.Context) (*policyHub, error) { return &policyHub{}, nil }, options))
}

func TestRequireUserAndRequireRole(t *testing.T) {
	ada, admin := &hubsys.Principal{UserID: "ada"}, &hubsys.Principal{Roles: []string{"user", "admin"}}
	ctx := t.Context()
	require.EqualError(t, hubsys.RequireUser(ctx, nil), "hubsys: the user is anonymous")
	require.NoError(t, hubsys.RequireUser(ctx, ada))
	require.NoError(t, hubsys.RequireUser(ctx, &hubsys.Principal{}))
	require.NoError(t, hubsys.RequireRole("admin")(ctx, admin))
	require.NoError(t, hubsys.RequireRole("root", "admin")(ctx, admin))
	for _, p := range []*hubsys.Principal{nil, ada} {
		require.EqualError(t, hubsys.RequireRole("root", "admin")(ctx, p), "hubsys: the user has none of the roles root, admin")
	}
	require.Error(t, hubsys.RequireRole("root")(ctx, admin))
	require.Error(t, hubsys.RequireRole("Admin")(ctx, admin), "roles are compared byte by byte")
	require.Error(t, hubsys.RequireRole()(ctx, admin), "no role allows nobody")
}

// memberOnly allows users with the role member, and panics for those with the role panic.
func memberOnly(_ context.Context, p *hubsys.Principal) error {
	if p.HasRole("panic") {
		panic("in a policy")
	}
	return hubsys.RequireRole("member")(context.Background(), p)
}

// The policy of a hub is asked for each request, whatever its kind.
func TestPolicyOfAHub(t *testing.T) {
	log := &logRecorder{}
	address := servePolicies(t, hubsys.Config{Logger: log.logger()}, hubsys.HubOptions{Policy: memberOnly})
	member := userHeader("ada", "member")
	negotiated := func() string {
		_, token := negotiate(t, address, member)
		return "?id=" + url.QueryEscape(token)
	}
	polling := negotiated()
	status, _ := doRequest(t, http.MethodGet, address+polling, "", member)
	require.Equal(t, http.StatusOK, status)
	for _, request := range []struct {
		what, method, query string
		header              http.Header
	}{
		{"a negotiation", http.MethodPost, "/negotiate?negotiateVersion=1", nil},
		{"an event stream", http.MethodGet, negotiated(), http.Header{"Accept": {"text/event-stream"}}},
		{"a first poll", http.MethodGet, negotiated(), nil},
		{"a poll", http.MethodGet, polling, nil},
		{"a POST before the transport", http.MethodPost, negotiated(), nil},
		{"a POST", http.MethodPost, polling, nil},
		{"a DELETE", http.MethodDelete, polling, nil},
		{"a WebSocket", "", negotiated(), nil},
		{"a WebSocket without an id", "", "", nil},
	} {
		for _, who := range []struct {
			header http.Header
			status int
		}{
			{nil, http.StatusUnauthorized},
			{http.Header{"Roles": {"member"}}, http.StatusUnauthorized}, // without a user
			{userHeader("ada"), http.StatusForbidden},
			{userHeader("", "user"), http.StatusForbidden},
			{userHeader("ada", "panic"), http.StatusInternalServerError},
			{with(member, "Refuse", "401"), http.StatusUnauthorized},
			{with(member, "Refuse", "403"), http.StatusForbidden},
		} {
			header := who.header.Clone()
			if accept := request.header.Get("Accept"); accept != "" {
				header = with(header, "Accept", accept)
			}
			if request.method == "" {
				_, status, err := tryDialSocket(t, address+request.query, dialOptions{header: header})
				require.Error(t, err)
				require.Equal(t, who.status, status, "%s: %v", request.what, who.header)
				continue
			}
			status, body := doRequest(t, request.method, address+request.query, "", header)
			require.Equal(t, who.status, status, "%s: %v", request.what, who.header)
			require.Empty(t, body, "why a request is refused is not shown")
		}
	}
	require.Contains(t, log.String(), "a policy panicked")
	require.Contains(t, log.String(), "the user has none of the roles member")
	// The connections are not affected.
	status, _ = doRequest(t, http.MethodPost, address+polling, handshakeJSON+separator, member)
	require.Equal(t, http.StatusOK, status)
	status, body := doRequest(t, http.MethodGet, address+polling, "", member)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "{}"+separator, body)
	status, _ = doRequest(t, http.MethodDelete, address+polling, "", member)
	require.Equal(t, http.StatusAccepted, status)
	c, _ := dialWithID(t, address, member)
	require.Equal(t, `"open"`, string(c.invoke("Open").Result))
	require.Equal(t, `"open"`, string(dialWith(t, address, dialOptions{header: member}).invoke("Open").Result))
}

// A policy of a hub sees the context of the request, with what middleware has put there.
func TestPolicyOfAHubSeesTheContextOfTheRequest(t *testing.T) {
	type key struct{}
	inCall := make(chan bool, 1)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*policyHub, error) { return &policyHub{}, nil }, hubsys.HubOptions{
		Policy: func(ctx context.Context, p *hubsys.Principal) error {
			_, ok := hubsys.CallFrom(ctx)
			inCall <- ok
			if ctx.Value(key{}) == nil {
				return errors.New("the context has no value")
			}
			return nil
		},
	})
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	middleware := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sys.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, 1)))
	})
	require.Equal(t, http.StatusOK, serveRequest(middleware, http.MethodPost, "/hub/negotiate", "", nil).Code)
	require.False(t, <-inCall)
	require.Equal(t, http.StatusUnauthorized, serveRequest(sys, http.MethodPost, "/hub/negotiate", "", nil).Code)
}

// An error that is ErrForbidden makes no difference for anonymous users: they can be asked to log in.
func TestPolicyThatForbids(t *testing.T) {
	address := servePolicies(t, hubsys.Config{}, hubsys.HubOptions{Policy: func(context.Context, *hubsys.Principal) error { return hubsys.ErrForbidden }})
	status, _ := post(t, address+"/negotiate", nil)
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = post(t, address+"/negotiate", userHeader("ada"))
	require.Equal(t, http.StatusForbidden, status)
}

// The policies of HubDefaults and of the hub must both allow. Those of HubDefaults are asked first, and alone if they refuse.
func TestPolicyOfAllHubs(t *testing.T) {
	var asked atomic.Int64
	address := servePolicies(t, hubsys.Config{HubDefaults: hubsys.HubOptions{Policy: hubsys.RequireUser}}, hubsys.HubOptions{
		Policy: func(ctx context.Context, p *hubsys.Principal) error {
			asked.Add(1)
			return hubsys.RequireRole("member")(ctx, p)
		},
	})
	for _, test := range []struct {
		header http.Header
		status int
		asked  int64
	}{
		{nil, http.StatusUnauthorized, 0}, {userHeader("ada"), http.StatusForbidden, 1}, {userHeader("ada", "member"), http.StatusOK, 2},
	} {
		status, _ := post(t, address+"/negotiate", test.header)
		require.Equal(t, test.status, status)
		require.Equal(t, test.asked, asked.Load())
	}
	address = servePolicies(t, hubsys.Config{HubDefaults: hubsys.HubOptions{Policy: hubsys.RequireUser}}, hubsys.HubOptions{})
	status, _ := post(t, address+"/negotiate", nil)
	require.Equal(t, http.StatusUnauthorized, status)
}

// askedCalls records the calls for which policies are asked.
type askedCalls struct {
	mu    sync.Mutex
	calls []string
}

func (a *askedCalls) refuse(ctx context.Context, p *hubsys.Principal) error {
	call, ok := hubsys.CallFrom(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if ok && call.Principal() == p {
		a.calls = append(a.calls, call.Method()+" of "+call.ConnectionID()+" by "+p.UserID)
	}
	return errors.New("the text of the policy")
}

func (a *askedCalls) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.calls = nil }()
	return a.calls
}

// A call that a policy refuses is answered with one text that names the method as the client has written it, whatever else is wrong with
// the call. The connection goes on.
func TestPolicyOfAMethodRefuses(t *testing.T) {
	var asked askedCalls
	log := &logRecorder{}
	address := servePolicies(t, hubsys.Config{Logger: log.logger()}, hubsys.HubOptions{EnableDetailedErrors: true, ExplainArguments: true, Methods: []hubsys.Method{
		{Func: (*policyHub).Guarded, Policy: asked.refuse}, {Func: (*policyHub).Renamed, Name: "New_Name", Policy: asked.refuse},
		{Func: (*policyHub).Sum, Policy: asked.refuse}, {Func: (*policyHub).Count, Policy: asked.refuse},
		{Func: (*policyHub).Panics, Policy: func(context.Context, *hubsys.Principal) error { panic("in a policy") }},
	}})
	c, id := dialWithID(t, address, userHeader("ada"))
	refusal := func(target string) string { return "Failed to invoke '" + target + "' because user is unauthorized" }
	for _, test := range []struct {
		target, method string
		args           []any
	}{
		{"Guarded", "Guarded", []any{1}},
		{"gUARDED", "Guarded", []any{1}},
		{"Guarded", "Guarded", []any{"not a number"}},
		{"guarded", "Guarded", nil},
		{"Guarded", "Guarded", []any{1, 2, 3}},
		{"NEW_NAME", "New_Name", nil},
		{"Count", "Count", nil}, // a streaming method, by a call that wants no stream
	} {
		require.Equal(t, refusal(test.method), c.invokeError(test.target, test.args...))
		require.Equal(t, []string{test.method + " of " + id + " by ada"}, asked.take())
	}
	require.Contains(t, log.String(), "the text of the policy")
	for target, method := range map[string]string{"Count": "Count", "count": "Count", "Guarded": "Guarded"} {
		c.send(`{"type":4,"invocationId":"s","target":"` + target + `","arguments":["wrong"]}`)
		require.Equal(t, `{"type":3,"invocationId":"s","error":"`+refusal(method)+`"}`, c.next().raw)
	}
	c.send(`{"type":1,"invocationId":"u","target":"Sum","arguments":[],"streamIds":["1"]}`)
	require.Equal(t, `{"type":3,"invocationId":"u","error":"`+refusal("Sum")+`"}`, c.next().raw)
	c.send(`{"type":2,"invocationId":"1","item":1}`, `{"type":3,"invocationId":"1"}`) // the stream of a call that was refused
	require.Len(t, asked.take(), 4)

	require.Equal(t, refusal("Panics"), c.invokeError("panics"))
	require.Contains(t, log.String(), "a policy panicked")

	c.send(invocation("", "Guarded", 1), invocation("", "Guarded", "wrong"), invocation("", "Panics")) // these are not answered
	require.Equal(t, `"open"`, string(c.invoke("Open").Result))
	require.Empty(t, c.skipped)
	require.Len(t, asked.take(), 2)
}

func TestPolicyOfAMethodAllows(t *testing.T) {
	address := servePolicies(t, hubsys.Config{}, hubsys.HubOptions{Methods: []hubsys.Method{
		{Func: (*policyHub).Guarded, Policy: hubsys.RequireUser}, {Func: (*policyHub).Count, Policy: hubsys.RequireRole("member")},
	}})
	stream := `{"type":4,"invocationId":"s","target":"Count","arguments":[]}`
	anonymous, user, member := dialWith(t, address, dialOptions{}), dialWith(t, address, dialOptions{header: userHeader("ada")}), dialWith(t, address, dialOptions{header: userHeader("bob", "member")})
	require.NotNil(t, anonymous.invoke("Guarded", 1).Error)
	for _, c := range []*testClient{user, member} {
		require.Equal(t, "1", string(c.invoke("Guarded", 1).Result))
	}
	for _, c := range []*testClient{anonymous, user} {
		c.send(stream)
		require.Equal(t, `{"type":3,"invocationId":"s","error":"Failed to invoke 'Count' because user is unauthorized"}`, c.next().raw)
	}
	member.send(stream)
	require.Equal(t, `{"type":2,"invocationId":"s","item":1}`, member.next().raw)
	require.Equal(t, `{"type":3,"invocationId":"s"}`, member.next().raw)
}

// A policy may block, and ends when the context of its call does.
func TestPolicyThatBlocks(t *testing.T) {
	inside, ended := make(chan struct{}), make(chan error, 1)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*policyHub, error) { return &policyHub{}, nil }, hubsys.HubOptions{Methods: []hubsys.Method{
		{Func: (*policyHub).Guarded, Policy: func(ctx context.Context, _ *hubsys.Principal) error {
			close(inside)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		}},
	}})
	c := dial(t, serve(t, sys, hub))
	id := c.call("Guarded", 1)
	receive(t, inside)
	c.send(`{"type":5,"invocationId":"` + id + `"}`)
	require.ErrorIs(t, receive(t, ended), hubsys.ErrCanceled)
}

// Policies are asked before the filters, and what is refused does not reach them.
func TestPolicyIsAskedBeforeFilters(t *testing.T) {
	var passed atomic.Int64
	count := func(next hubsys.Handler) hubsys.Handler {
		invoke := next.Invoke
		next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			passed.Add(1)
			return invoke(ctx, in)
		}
		return next
	}
	c := dial(t, servePolicies(t, hubsys.Config{}, hubsys.HubOptions{
		Filters: []hubsys.Filter{count}, Methods: []hubsys.Method{{Func: (*policyHub).Guarded, Policy: hubsys.RequireUser}},
	}))
	require.NotNil(t, c.invoke("Guarded", 1).Error)
	before := passed.Load()
	require.NotNil(t, c.invoke("Guarded", 1).Error)
	require.Equal(t, before, passed.Load())
	require.Nil(t, c.invoke("Open").Error)
	require.Equal(t, before+1, passed.Load())
}

// Methods of a hub that is made of functions have policies by their names, whatever their case.
func TestPolicyOfAHandler(t *testing.T) {
	sys := newSystem(t, hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{Authenticate: principalOf}})
	hub, err := hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: func(_ context.Context, in *hubsys.Invocation) (any, error) {
		var arg json.RawMessage
		if err := in.Bind(&arg); err != nil {
			return nil, err
		}
		return in.Method(), nil
	}}, hubsys.HubOptions{Name: "functions", Methods: []hubsys.Method{{Name: "Guarded", Policy: hubsys.RequireUser}}})
	require.NoError(t, err)
	address := serve(t, sys, hub)
	anonymous, user := dialWith(t, address, dialOptions{}), dialWith(t, address, dialOptions{header: userHeader("ada")})
	for _, target := range []string{"Guarded", "gUARDED"} {
		require.Equal(t, "Failed to invoke 'Guarded' because user is unauthorized", anonymous.invokeError(target, 1))
		require.Equal(t, "Failed to invoke 'Guarded' because user is unauthorized", anonymous.invokeError(target))
		require.Equal(t, `"Guarded"`, string(user.invoke(target, 1).Result))
	}
	require.Equal(t, `"Other"`, string(anonymous.invoke("Other", 1).Result))
}

type foldedHub struct{ hubsys.Hub }

func (*foldedHub) Secret() string { return "secret" }
func (*foldedHub) Ask() string    { return "ask" }

// Names that strings.EqualFold takes for equal are one name, and have one policy.
func TestPolicyOfAMethodUnderAllItsNames(t *testing.T) {
	names := map[string][]string{"Secret": {"Secret", "sECRET", "ſecret", "ſECRET"}, "Ask": {"Ask", "aſk", "AS\u212a", "Aſ\u212a"}}
	for method, folded := range names {
		for _, name := range folded {
			require.True(t, strings.EqualFold(method, name), name)
		}
	}
	requirePolicies := func(address string) {
		t.Helper()
		anonymous, user := dialWith(t, address, dialOptions{}), dialWith(t, address, dialOptions{header: userHeader("ada")})
		for method, folded := range names {
			for _, name := range folded {
				require.Equal(t, "Failed to invoke '"+method+"' because user is unauthorized", anonymous.invokeError(name), name)
				require.Equal(t, `"`+strings.ToLower(method)+`"`, string(user.invoke(name).Result), name)
			}
		}
	}
	endpoints := hubsys.EndpointOptions{Authenticate: principalOf}
	sys := newSystem(t, hubsys.Config{EndpointDefaults: endpoints})
	requirePolicies(serve(t, sys, register(t, sys, func(context.Context) (*foldedHub, error) { return &foldedHub{}, nil }, hubsys.HubOptions{
		Methods: []hubsys.Method{{Func: (*foldedHub).Secret, Policy: hubsys.RequireUser}, {Func: (*foldedHub).Ask, Policy: hubsys.RequireUser}},
	})))
	sys = newSystem(t, hubsys.Config{EndpointDefaults: endpoints})
	hub, err := hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: func(_ context.Context, in *hubsys.Invocation) (any, error) {
		return strings.ToLower(in.Method()), nil
	}}, hubsys.HubOptions{Name: "functions", Methods: []hubsys.Method{
		{Name: "Secret", Policy: hubsys.RequireUser}, {Name: "Ask", Policy: hubsys.RequireUser}, {Name: "Kiss", Hidden: true},
	}})
	require.NoError(t, err)
	address := serve(t, sys, hub)
	requirePolicies(address)
	c := dial(t, address)
	for _, name := range []string{"Kiss", "\u212aiſS"} {
		require.Contains(t, c.invokeError(name), "Method does not exist.", name)
	}
}
