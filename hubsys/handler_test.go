package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// handlers are the methods of a hub of functions, by their names.
type handlers map[string]func(ctx context.Context, in *hubsys.Invocation) (any, error)

func (h handlers) invoke(ctx context.Context, in *hubsys.Invocation) (any, error) {
	if f := h[in.Method()]; f != nil {
		return f(ctx, in)
	}
	return nil, hubsys.ErrNoMethod
}

// serveHandler serves a hub of functions, and returns its URL.
func serveHandler(t *testing.T, handler hubsys.Handler, options hubsys.HubOptions) (url string) {
	t.Helper()
	options.Name = "handler"
	sys := newSystem(t, hubsys.Config{})
	hub, err := hubsys.RegisterHandler(sys, handler, options)
	require.NoError(t, err)
	require.Equal(t, "handler", hub.Name())
	return serve(t, sys, hub)
}

func dialHandler(t *testing.T, methods handlers, options hubsys.HubOptions) *testClient {
	t.Helper()
	return dial(t, serveHandler(t, hubsys.Handler{Invoke: methods.invoke}, options))
}

// bound makes a method of a function of one argument.
func bound[A any](f func(A) (any, error)) func(context.Context, *hubsys.Invocation) (any, error) {
	return func(_ context.Context, in *hubsys.Invocation) (any, error) {
		var a A
		if err := in.Bind(&a); err != nil {
			return nil, err
		}
		return f(a)
	}
}

func TestAHandlerAnswersCalls(t *testing.T) {
	c := dialHandler(t, handlers{
		"Add": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			a, b := 100, 100 // what was there does not count
			err := in.Bind(&a, &b)
			return a + b, err
		},
		"Point":   bound(func(p *point) (any, error) { return p, nil }),
		"Any":     bound(func(v any) (any, error) { return v, nil }),
		"Raw":     bound(func(v json.RawMessage) (any, error) { return v, nil }),
		"Nothing": func(context.Context, *hubsys.Invocation) (any, error) { return nil, nil },
		"None":    func(_ context.Context, in *hubsys.Invocation) (any, error) { return "none", in.Bind() },
		"What": func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			call, _ := hubsys.CallFrom(ctx)
			return []any{in.Method(), in.Call().Method(), in.Hub(), in.Args() == nil, in.Streaming(), call == in.Call()}, nil
		},
		"Error":    func(context.Context, *hubsys.Invocation) (any, error) { return 1, errors.New("secret") },
		"HubError": func(context.Context, *hubsys.Invocation) (any, error) { return nil, hubsys.Errorf("for the client") },
		"NoMethod": func(context.Context, *hubsys.Invocation) (any, error) {
			return nil, fmt.Errorf("wrapped: %w", hubsys.ErrNoMethod)
		},
		"Panic": func(context.Context, *hubsys.Invocation) (any, error) { panic("secret") },
		"Func":  func(context.Context, *hubsys.Invocation) (any, error) { return func() {}, nil },
	}, hubsys.HubOptions{})
	for _, test := range []struct {
		method string
		args   []any
		want   string
	}{
		{"Add", []any{1, 2}, "3"}, {"Point", []any{point{1, 2}}, `{"x":1,"y":2}`}, {"Point", []any{nil}, "null"}, {"Any", []any{[]int{1}}, "[1]"}, {"Raw", []any{[]int{1}}, "[1]"},
		{"Nothing", nil, "null"}, {"Nothing", []any{1, 2, 3}, "null"}, {"None", nil, `"none"`}, {"What", nil, `["What","What",null,true,false,true]`},
	} {
		r := c.invoke(test.method, test.args...)
		require.Equal(t, test.want, string(r.Result), "%s: %s", test.method, r.raw)
	}
	const failed, invoking = "Failed to invoke '%s' due to an error on the server.", "An unexpected error occurred invoking '%s' on the server."
	for method, want := range map[string]string{
		"Error": fmt.Sprintf(invoking, "Error"), "HubError": fmt.Sprintf(invoking, "HubError") + " HubException: for the client", "Panic": fmt.Sprintf(invoking, "Panic"),
		"Func": fmt.Sprintf(invoking, "Func"), "NoMethod": fmt.Sprintf(failed, "NoMethod") + " HubException: Method does not exist.",
		"nothing": fmt.Sprintf(failed, "nothing") + " HubException: Method does not exist.", // names are compared by the handler
	} {
		require.Equal(t, want, c.invokeError(method), method)
	}
	c.send(invocation("", "Error"), invocation("", "Add", 1), invocation("", "unknown")) // without an answer
	c.send(invocation("last", "Add", 1, 2))
	require.Equal(t, "last", c.next().InvocationID)
}

func TestBindGivesTheTextsOfArgumentsThatDoNotFit(t *testing.T) {
	const head = "Failed to invoke 'Add' due to an error on the server."
	add := handlers{"Add": func(_ context.Context, in *hubsys.Invocation) (any, error) {
		var a, b int
		if err := in.Bind(&a, &b); err != nil {
			return nil, fmt.Errorf("wrapped: %w", err)
		}
		return a + b, nil
	}}
	for name, test := range map[string]struct {
		options            hubsys.HubOptions
		few, many, misfits string
	}{
		"not detailed": {hubsys.HubOptions{ExplainArguments: true}, head, head, head},
		"detailed": {hubsys.HubOptions{EnableDetailedErrors: true}, head + " Error: Invocation provides 1 argument(s) but target expects 2.", head + " Error: Invocation provides 3 argument(s) but target expects 2.",
			head + " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked."},
		"explained": {hubsys.HubOptions{EnableDetailedErrors: true, ExplainArguments: true}, head + " Error: Invocation provides 1 argument(s) but target expects 2.", head + " Error: Invocation provides 3 argument(s) but target expects 2.",
			head + " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked. argument 2 does not fit int: json: cannot unmarshal string into Go value of type int"},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialHandler(t, add, test.options)
			require.Equal(t, test.few, c.invokeError("Add", 1))
			require.Equal(t, test.many, c.invokeError("Add", 1, 2, 3))
			require.Equal(t, test.misfits, c.invokeError("Add", 1, "two"))
			require.Equal(t, "3", string(c.invoke("Add", 1, 2).Result))
		})
	}
}

func TestBindRefusesWhatItCannotDo(t *testing.T) {
	c := dialHandler(t, handlers{
		"twice": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			var a int
			if err := in.Bind(&a); err != nil {
				return nil, err
			}
			return fmt.Sprint(in.Bind(&a)), nil
		},
		"value": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			var a int
			return fmt.Sprint(in.Bind(&a, a)), nil
		},
		"nil": func(_ context.Context, in *hubsys.Invocation) (any, error) { return fmt.Sprint(in.Bind(nil)), nil },
		"no int": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			return fmt.Sprint(in.Bind((*int)(nil))), nil
		},
	}, hubsys.HubOptions{})
	for method, want := range map[string]string{
		"twice": "hubsys: the arguments have been decoded", "value": "hubsys: Bind: argument 2 is a int, and no pointer", "nil": "hubsys: Bind: argument 1 is a <nil>, and no pointer",
		"no int": "hubsys: Bind: argument 1 is a *int, and no pointer",
	} {
		require.Equal(t, `"`+want+`"`, string(c.invoke(method, 1).Result), method)
	}
	filtered, _ := dialFiltered(t, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(_ context.Context, in *hubsys.Invocation, _ invokeFunc) (any, error) {
		var a, b int
		return fmt.Sprint(in.Bind(&a, &b)), nil
	})}})
	require.Equal(t, `"hubsys: the arguments have been decoded"`, string(filtered.invoke("Add", 1, 2).Result))
}

func TestStreamsOfAHandler(t *testing.T) {
	c := dialHandler(t, handlers{
		"Count": bound(func(n int) (any, error) {
			return iter.Seq2[int, error](func(yield func(int, error) bool) {
				for i := range n {
					if !yield(i, nil) {
						return
					}
				}
			}), nil
		}),
		"Channel": bound(func(n int) (any, error) {
			items := make(chan string, n)
			for i := range n {
				items <- fmt.Sprint(i)
			}
			close(items)
			return (<-chan string)(items), nil
		}),
		"Sum": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			var by int
			var numbers iter.Seq2[int, error]
			var more <-chan int
			if err := in.Bind(&by, &numbers, &more); err != nil {
				return nil, err
			}
			list, err := collect(numbers)
			return []any{by, list, sumOf(more)}, err
		},
		"Echo": bound(func(items iter.Seq2[point, error]) (any, error) { return items, nil }),
		"Nil":  func(context.Context, *hubsys.Invocation) (any, error) { return iter.Seq2[int, error](nil), nil },
		"Fail": func(context.Context, *hubsys.Invocation) (any, error) { return nil, hubsys.Errorf("no stream") },
		"Mine": func(_ context.Context, in *hubsys.Invocation) (any, error) { return in.Streaming(), nil },
	}, hubsys.HubOptions{})

	c.send(streamInvocation("1", "Count", nil, 2))
	c.requireMessages(streamItem("1", 0), streamItem("1", 1), completion("1"))
	c.send(streamInvocation("2", "Channel", nil, 2))
	c.requireMessages(streamItem("2", "0"), streamItem("2", "1"), completion("2"))
	c.send(uploadInvocation("3", "Sum", []string{"a", "b"}, 10), streamItem("a", 1), streamItem("b", 2), streamItem("b", 3), completion("a"), completion("b"))
	require.Equal(t, "[10,[1],5]", string(c.awaitCompletion("3").Result))
	c.send(streamInvocation("4", "Echo", []string{"a"}), streamItem("a", point{1, 2}), completion("a"))
	c.requireMessages(`{"type":2,"invocationId":"4","item":{"x":1,"y":2}}`, completion("4"))

	for _, test := range []struct{ call, want string }{
		{invocation("5", "Count", 1), "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation."},
		{streamInvocation("5", "Mine", nil), "The client attempted to invoke the non-streaming 'Mine' method with a streaming invocation."},
		{streamInvocation("5", "Nil", nil), "The value returned by the streaming method 'Nil' is not a ChannelReader<> or IAsyncEnumerable<>."},
		{streamInvocation("5", "Fail", nil), "An unexpected error occurred invoking 'Fail' on the server. HubException: no stream"},
		{streamInvocation("5", "Count", []string{"a"}, 1), "An unexpected error occurred invoking 'Count' on the server. HubException: Client sent 1 stream(s), Hub method expects 0."},
		{uploadInvocation("5", "Sum", []string{"a"}, 1), "An unexpected error occurred invoking 'Sum' on the server. HubException: Client sent 1 stream(s), Hub method expects 2."},
		{streamInvocation("5", "unknown", nil), "Failed to invoke 'unknown' due to an error on the server. HubException: Method does not exist."},
	} {
		c.send(test.call)
		r := c.awaitCompletion("5")
		require.NotNil(t, r.Error, test.call)
		require.Equal(t, test.want, *r.Error)
	}
}

func TestPoliciesAndHiddenMethodsOfAHandler(t *testing.T) {
	n := &notes{}
	note := func(_ context.Context, in *hubsys.Invocation) (any, error) { n.add("%s", in.Method()); return nil, nil }
	c := dial(t, serveHandler(t, hubsys.Handler{Invoke: note}, hubsys.HubOptions{
		Methods: []hubsys.Method{{Name: "Secret", Policy: hubsys.RequireUser}, {Name: "Hidden", Hidden: true}, {Name: "Open"}},
		Filters: []hubsys.Filter{noting(n, "a")},
	}))
	n.take()
	for _, name := range []string{"Secret", "SECRET", "secret"} {
		require.Equal(t, "Failed to invoke 'Secret' because user is unauthorized", c.invokeError(name))
	}
	for _, name := range []string{"Hidden", "hidden"} {
		require.Equal(t, "Failed to invoke 'Hidden' due to an error on the server. HubException: Method does not exist.", c.invokeError(name))
	}
	require.Empty(t, n.take())
	require.Equal(t, "null", string(c.invoke("Open").Result))
	require.Equal(t, []string{"a>Open", "Open", "a<"}, n.take())
}

func TestHandlersThatCannotBeUsedAreRefused(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	_, err := hubsys.RegisterHandler(sys, hubsys.Handler{}, hubsys.HubOptions{Methods: []hubsys.Method{{}, {Name: "a", Func: (*filterHub).Add}, {Name: "b"}, {Name: "B"}}})
	require.EqualError(t, err, "hubsys: RegisterHandler: Handler.Invoke is nil\nHubOptions.Name is empty\n"+
		"HubOptions.Methods[0]: a method of RegisterHandler has a Name and no Func\nHubOptions.Methods[1]: a method of RegisterHandler has a Name and no Func\n"+
		"HubOptions.Methods[3]: there is an element for method B already")
	handler := hubsys.Handler{Invoke: handlers{}.invoke}
	_, err = hubsys.RegisterHandler(sys, handler, hubsys.HubOptions{Name: "a"})
	require.NoError(t, err)
	_, err = hubsys.RegisterHandler(sys, handler, hubsys.HubOptions{Name: "a"})
	require.ErrorContains(t, err, `"a"`)
	_, err = hubsys.RegisterHandler(sys, handler, hubsys.HubOptions{Name: "b", OutboxLimit: 1})
	require.ErrorContains(t, err, "OutboxLimit")
}

func TestLifetimeOfConnectionsOfAHandler(t *testing.T) {
	n := &notes{}
	ended := make(chan error, 2)
	url := serveHandler(t, hubsys.Handler{
		Invoke: handlers{}.invoke,
		Connected: func(ctx context.Context) error {
			call, _ := hubsys.CallFrom(ctx)
			call.Cleanup(func() { n.add("clean") })
			n.add("%s", call.Method())
			if call.Request().Query("refused") != "" {
				return hubsys.Errorf("not you")
			}
			return nil
		},
		Disconnected: func(ctx context.Context, cause error) error {
			call, _ := hubsys.CallFrom(ctx)
			n.add("%s", call.Method())
			call.Cleanup(func() { n.add("clean"); ended <- cause })
			return errors.New("logged")
		},
	}, hubsys.HubOptions{Filters: []hubsys.Filter{noting(n, "a")}})

	refused := dialHandshake(t, url+"?refused=yes", dialOptions{})
	r := refused.next()
	require.Equal(t, 7, r.Type)
	require.Contains(t, *r.Error, "HubException: not you")
	refused.requireClosed()
	require.Equal(t, []string{"a>connected", "OnConnected", "a<", "clean"}, n.take())

	c := dial(t, url)
	require.Equal(t, []string{"a>connected", "OnConnected", "a<", "clean", "a>is OnConnected over?", "a<"}, n.take())
	c.close()
	require.NoError(t, receive(t, ended))
	require.Equal(t, []string{"a>disconnected", "OnDisconnected", "a<", "clean"}, n.take())
}

func TestCleanupsOfCallsOfAHandler(t *testing.T) {
	n := &notes{}
	clean := func(in *hubsys.Invocation) { in.Call().Cleanup(func() { n.add("clean") }) }
	c := dialHandler(t, handlers{
		"result": func(_ context.Context, in *hubsys.Invocation) (any, error) { clean(in); return notingJSON{n}, nil },
		"fail": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			clean(in)
			return nil, errors.New("secret")
		},
		"panic": func(_ context.Context, in *hubsys.Invocation) (any, error) { clean(in); panic("secret") },
		"bind": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			clean(in)
			var a int
			return nil, in.Bind(&a)
		},
		"stream": func(_ context.Context, in *hubsys.Invocation) (any, error) {
			clean(in)
			return iter.Seq2[notingJSON, error](func(yield func(notingJSON, error) bool) { yield(notingJSON{n}, nil) }), nil
		},
	}, hubsys.HubOptions{})
	c.invoke("result")
	require.Equal(t, []string{"encode", "clean"}, n.take())
	for _, method := range []string{"fail", "panic", "bind"} {
		c.invokeError(method)
		require.Equal(t, []string{"clean"}, n.take(), method)
	}
	c.send(streamInvocation("s", "stream", nil))
	c.awaitCompletion("s")
	require.Equal(t, []string{"encode", "clean"}, n.take())
}

// notingJSON is a value that records when it is encoded.
type notingJSON struct{ notes *notes }

func (v notingJSON) MarshalJSON() ([]byte, error) { v.notes.add("encode"); return []byte("1"), nil }

func TestFiltersAroundAHandlerSeeErrorsOfBind(t *testing.T) {
	n := &notes{}
	c := dialHandler(t, handlers{"one": bound(func(int) (any, error) { return nil, nil })}, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		result, err := next(ctx, in)
		n.add("%s %v %v", in.Method(), in.Args() == nil, err)
		return result, err
	})}})
	n.take()
	require.Equal(t, "Failed to invoke 'one' due to an error on the server.", c.invokeError("one"))
	c.invokeError("unknown")
	require.Equal(t, []string{"one true Invocation provides 0 argument(s) but target expects 1.", "unknown true hubsys: no such method"}, n.take())
}

func TestAStreamOfAHandlerKeepsItsID(t *testing.T) {
	feed := make(chan int)
	c := dialHandler(t, handlers{"feed": func(context.Context, *hubsys.Invocation) (any, error) { return (<-chan int)(feed), nil }}, hubsys.HubOptions{})
	c.send(streamInvocation("1", "feed", nil))
	feed <- 1
	c.requireMessages(streamItem("1", 1))
	c.send(streamInvocation("1", "feed", nil))
	c.requireMessages(errorCompletion("1", "Invocation ID '1' is already in use."))
	c.send(cancelInvocation("1"))
	c.requireMessages(completion("1"))
}

func TestAHandlerIsToldOfRefreshedCredentials(t *testing.T) {
	for name, refreshed := range map[string]func(context.Context) error{"a function": func(context.Context) error { return errors.New("no refresh today") }, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			log := &logRecorder{}
			sys := newSystem(t, hubsys.Config{Logger: log.logger()})
			hub, err := hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: handlers{}.invoke, Refreshed: refreshed}, hubsys.HubOptions{Name: "hub"})
			require.NoError(t, err)
			require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{
				Authenticate: func(*http.Request) (*hubsys.Principal, error) { return &hubsys.Principal{}, nil }, Refresh: &hubsys.RefreshOptions{},
			}))
			url := serveSystem(t, sys) + "/hub"
			_, token := negotiate(t, url, nil)
			c := dialWith(t, url+"?id="+token, dialOptions{})
			status, body := post(t, url+"/refresh?id="+token, nil)
			require.Equal(t, http.StatusOK, status, body)
			c.invokeError("unknown") // runs behind the refresh
			require.Equal(t, refreshed != nil, strings.Contains(log.String(), "no refresh today"))
		})
	}
}

// Types that no arguments can be bound to are an error of the program, not of the client.
func TestBindRefusesTypesThatCannotBeBound(t *testing.T) {
	refused := map[string]any{
		"func": new(func()), "chan": new(chan int), "context": new(context.Context), "call": new(*hubsys.Call), "complex": new(complex128),
		"field": new(struct{ F []func() }), "service": new(hubsys.From[*clockService]), "items": new(<-chan func()),
	}
	methods := handlers{}
	for name, arg := range refused {
		methods[name] = func(_ context.Context, in *hubsys.Invocation) (any, error) {
			var first int
			return nil, in.Bind(&first, arg)
		}
	}
	c := dialHandler(t, methods, hubsys.HubOptions{EnableDetailedErrors: true, ExplainArguments: true})
	for name := range refused {
		for _, args := range [][]any{{1, 2}, {1}, {"misfit", nil}} {
			require.Contains(t, c.invokeError(name, args...), fmt.Sprintf(unexpectedErrorFormat, name)+" Error: hubsys: Bind: argument 2: ", name)
		}
	}
}
