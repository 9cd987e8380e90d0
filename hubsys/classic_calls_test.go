package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestResultsOfClassicCalls(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		srv.handle("object", func(context.Context, *classicHub, []json.RawMessage) (any, error) {
			return struct {
				Name  string
				Next  *int
				Given string `json:"given"`
			}{"x", nil, "y"}, nil
		})
		c := dialClassic(t, srv, transport)
		for _, test := range []struct{ call, want string }{
			{`{"H":"chat","M":"Echo","A":["<é\u2028>"],"I":"7"}`, `{"R":"<é\u2028>","I":"7"}`},
			{`{"I":7,"H":"Chat","M":"echo","A":[1.5]}`, `{"R":1.5,"I":"7"}`},
			{`{"H":"CHAT","M":"ECHO","A":[false],"I":"7"}`, `{"R":false,"I":"7"}`},
			{`{"H":"chat","M":"Echo","A":[{"b":[null]}],"I":"7"}`, `{"R":{"b":[null]},"I":"7"}`},
			{`{"H":"chat","M":"Echo","A":[null],"I":"7"}`, `{"I":"7"}`},
			{`{"H":"chat","M":"Nothing","I":"7"}`, `{"I":"7"}`},
			{`{"H":"chat","M":"Nothing","A":null,"I":"7"}`, `{"I":"7"}`},
			{`{"H":"chat","M":"Add","A":["1",2],"I":"7"}`, `{"R":3,"I":"7"}`},
			{`{"H":"chat","M":"Do","A":["object",[]],"I":"7"}`, `{"R":{"Name":"x","Next":null,"given":"y"},"I":"7"}`},
		} {
			require.Equal(t, test.want, c.invokeText("7", test.call).raw, test.call)
		}
		require.Equal(t, `{"R":1,"I":" a \""}`, c.invokeText(` a "`, `{"H":"chat","M":"Echo","A":[1],"I":" a \""}`).raw)
		if transport != "webSockets" {
			_, body := c.send(`{"H":"chat","M":"Echo","A":[1]}`)
			require.Equal(t, `{"R":1,"I":null}`, body)
		}
	})
}

func TestErrorsOfClassicCalls(t *testing.T) {
	failures := map[string]error{
		"plain": errors.New("secret reason"), "canceled": context.Canceled, "hub": &hubsys.HubError{Message: "for you"}, "empty": &hubsys.HubError{},
		"data":     &hubsys.HubError{Message: "for you", Data: struct{ User string }{"ada"}},
		"bad data": &hubsys.HubError{Message: "for you", Data: func() {}},
		"wrapped":  errors.Join(errors.New("secret reason"), &hubsys.HubError{Message: "for you", Data: []int{1}, Err: errors.New("secret cause")}),
	}
	const generic = `{"I":"7","E":"There was an error invoking Hub method 'cHAT.%s'."}`
	for _, test := range []struct{ method, args, generic, detailed string }{
		{"Do", `"plain"`, generic, `{"I":"7","E":"secret reason"}`},
		{"dO", `"plain"`, generic, `{"I":"7","E":"secret reason"}`},
		{"Do", `"canceled"`, generic, `{"I":"7","E":"The operation was canceled."}`},
		{"Do", `"hub"`, `{"I":"7","H":true,"E":"for you"}`, `{"I":"7","H":true,"E":"for you"}`},
		{"Do", `"data"`, `{"I":"7","H":true,"E":"for you","D":{"User":"ada"}}`, `{"I":"7","H":true,"E":"for you","D":{"User":"ada"}}`},
		{"Do", `"bad data"`, `{"I":"7","H":true,"E":"for you"}`, `{"I":"7","H":true,"E":"for you"}`},
		{"Do", `"wrapped"`, `{"I":"7","H":true,"E":"for you","D":[1]}`, `{"I":"7","H":true,"E":"for you","D":[1]}`},
		{"Do", `"empty"`, `{"I":"7","H":true,"E":"An error occurred on the server."}`, `{"I":"7","H":true,"E":"An error occurred on the server."}`},
		{"Do", `"panic"`, generic, `{"I":"7","E":"panic: no"}`},
		{"Nope", ``, generic, `{"I":"7","E":"'Nope' method could not be resolved. No method found with that name."}`},
		{"OnConnected", ``, generic, `{"I":"7","E":"'OnConnected' method could not be resolved. No method found with that name."}`},
		{"", ``, generic, `{"I":"7","E":"'' method could not be resolved. No method found with that name."}`},
	} {
		for _, detailed := range []string{"", "by the path", "by the hub"} {
			t.Run(test.method+test.args+detailed, func(t *testing.T) {
				srv := newClassicServer(t, classicConfig{
					ClassicOptions: hubsys.ClassicOptions{EnableDetailedErrors: detailed == "by the path"}, hub: hubsys.HubOptions{EnableDetailedErrors: detailed == "by the hub"},
				})
				for name, err := range failures {
					srv.handle(name, func(context.Context, *classicHub, []json.RawMessage) (any, error) { return "ignored", err })
				}
				srv.handle("panic", func(context.Context, *classicHub, []json.RawMessage) (any, error) { panic("no") })
				want := strings.ReplaceAll(test.generic, "%s", test.method)
				if detailed != "" {
					want = test.detailed
				}
				args := "[]"
				if test.args != "" {
					args = "[" + test.args + ",[]]"
				}
				for _, transport := range []string{"webSockets", "longPolling"} {
					c := dialClassic(t, srv, transport)
					require.Equal(t, want, c.invokeText("7", `{"H":"cHAT","M":"`+test.method+`","A":`+args+`,"I":7}`).raw)
				}
			})
		}
	}
}

// Arguments that do not fit fail the call and nothing else.
func TestArgumentsOfClassicCallsThatDoNotFit(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "webSockets")
	for _, args := range []string{`[]`, `[1]`, `[1,2,3]`, `["x",1]`, `[null,1]`, `[1.5,1]`, `[{},1]`, `[[1,2]]`} {
		require.Equal(t, `{"I":"7","E":"There was an error invoking Hub method 'chat.Add'."}`, c.invokeText("7", `{"H":"chat","M":"Add","A":`+args+`,"I":7}`).raw, args)
	}
	require.Equal(t, `{"R":3,"I":"1"}`, c.invoke("Add", 1, 2).raw)
}

// A client is answered whatever the method returns.
func TestAResultThatCannotBeEncodedFailsTheClassicCall(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	srv.handle("function", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) { return func() {}, nil })
	srv.handle("state", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		h.Call().State().Set("f", func() {})
		return 1, nil
	})
	overClassicTransports(t, func(t *testing.T, transport string) {
		c := dialClassic(t, srv, transport)
		for _, name := range []string{"function", "state"} {
			a := c.invoke("Do", name, []any{})
			require.NotNil(t, a.E, a.raw)
			require.Equal(t, "There was an error invoking Hub method 'chat.Do'.", *a.E)
			require.Empty(t, a.R)
		}
		require.Equal(t, `{"R":1,"I":"3"}`, c.invoke("Echo", 1).raw)
	})
}

// A client may call a hub that it has not listed. It is answered, and gets nothing else of that hub, because it would fail at a call of a method.
func TestCallsOfAHubThatIsNotListed(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		for _, hubs := range []string{`[{"name":"chat"}]`, `[]`, ``} {
			c := newClassicClient(t, srv.address, transport)
			c.hubs = hubs
			c.negotiate()
			c.connect()
			c.start()
			require.Equal(t, `{"R":1,"I":"7"}`, c.invokeText("7", `{"H":"other","M":"Echo","A":[1],"I":7}`).raw)
			require.Equal(t, `{"I":"8"}`, c.invokeText("8", `{"H":"other","M":"CallMe","A":[1],"I":8}`).raw)
			require.Equal(t, `{"I":"9"}`, c.invokeText("9", `{"H":"other","M":"CallAll","A":[1],"I":9}`).raw)
			want := []string(nil)
			if strings.Contains(hubs, "chat") {
				want = []string{"Chat connected"}
				require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "of the chat"))
				c.requireCall("of the chat")
			}
			require.Equal(t, want, srv.eventsOf(c.id))
			require.Empty(t, c.messages)
			c.abort()
		}
	})
}

// Methods of one name are told apart by the number of arguments, by clients of both dialects.
func TestOverloads(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	core := dial(t, srv.http.URL+"/test")
	for _, transport := range []string{"webSockets", "longPolling"} {
		c := dialClassic(t, srv, transport)
		for _, test := range []struct {
			args []any
			want string
		}{{nil, `"0"`}, {[]any{"a"}, `"1:a"`}, {[]any{"abc", 4}, `7`}} {
			require.Equal(t, test.want, string(c.invoke("Over", test.args...).R))
			require.Equal(t, test.want, string(c.invoke("OVER", test.args...).R))
			require.Equal(t, test.want, string(core.invoke("Over", test.args...).Result))
			require.Equal(t, test.want, string(core.invoke("oVER", test.args...).Result))
		}
		require.NotNil(t, c.invoke("Over", 1, 2, 3).E)
		require.NotNil(t, c.invoke("OverOne", "a").E, "it has another name")
	}
	core.invokeError("Over", 1, 2, 3)
	core.invokeError("OverOne", "a")
}

type overloadedHub struct{ hubsys.Hub }

func (*overloadedHub) A(string)                               {}
func (*overloadedHub) B(int)                                  {}
func (*overloadedHub) C(int, int)                             {}
func (*overloadedHub) Rest(...int)                            {}
func (*overloadedHub) Told(int, hubsys.Progress[int])         {}
func (*overloadedHub) WithContext(context.Context, int) error { return nil }
func (*overloadedHub) Exact() string                          { return "" }

func TestOverloadsThatClientsCannotTellApart(t *testing.T) {
	type named []hubsys.Method
	a, b, c := hubsys.Method{Func: (*overloadedHub).A, Name: "X"}, hubsys.Method{Func: (*overloadedHub).B, Name: "X"}, hubsys.Method{Func: (*overloadedHub).C, Name: "x"}
	for name, test := range map[string]struct {
		methods named
		fault   string
	}{
		"of equal counts":                     {named{a, b}, `clients cannot tell it from A: both are called "X"`},
		"of different counts":                 {named{a, c}, ""},
		"one of three":                        {named{a, c, {Func: (*overloadedHub).B, Name: "x"}}, `clients cannot tell it from A: both are called "x"`},
		"with a variadic one":                 {named{c, {Func: (*overloadedHub).Rest, Name: "X"}}, `both are called "X"`},
		"a Progress does not count":           {named{a, {Func: (*overloadedHub).Told, Name: "X"}}, `both are called "X"`},
		"a context does not count":            {named{a, {Func: (*overloadedHub).WithContext, Name: "X"}}, `both are called "X"`},
		"with one that has the name in Go":    {named{{Func: (*overloadedHub).C, Name: "Exact"}}, ""},
		"of the name in Go, and equal counts": {named{{Func: (*overloadedHub).B, Name: "a"}}, `clients cannot tell it from A: both are called "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hubsys.Register[*overloadedHub](newSystem(t, hubsys.Config{}), nil, hubsys.HubOptions{Methods: test.methods})
			if test.fault == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.fault)
			}
		})
	}
}

// Nobody can wait for a result of a client that has none to give.
func TestAClassicClientCannotBeInvoked(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "serverSentEvents")
	_, err := hubsys.Invoke[int](t.Context(), srv.chat.Clients().Client(c.id), "ask")
	require.ErrorContains(t, err, "SignalR 2")
	require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "told"))
	c.requireCall("told")
}

// What a method is told of its caller.
func TestTheCallerOfAClassicCall(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}})
	srv.handle("who", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		r := h.Call().Request()
		return []string{h.Call().ConnectionID(), h.Call().UserID(), h.Call().HubName(), h.Call().Method(), r.Query("tag"), r.Query("transport"), r.Header("X-Of"), r.Path()}, nil
	})
	overClassicTransports(t, func(t *testing.T, transport string) {
		c := newClassicClient(t, srv.address, transport)
		c.header = userHeader("ada")
		c.header.Set("X-Of", "the client")
		c.query.Set("tag", "a b")
		c.negotiate()
		c.connect()
		c.start()
		var got []string
		require.NoError(t, json.Unmarshal([]byte(c.run("who")), &got))
		assert.Equal(t, []string{c.id, "ada", "Chat", "Do", "a b", transport, "the client", "/signalr/connect"}, got)
	})
}

func TestMethodsOfHTTPDoNotMatterToClassicCalls(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "serverSentEvents")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		status, body := c.request(method, "/send", map[string][]string{"data": {`{"H":"chat","M":"Echo","A":["+"],"I":7}`}}, nil)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, `{"R":"+","I":"7"}`, body)
	}
}

// Who gets detailed errors is told why arguments do not fit.
func TestDetailedErrorsOfClassicArguments(t *testing.T) {
	for _, config := range []classicConfig{{ClassicOptions: hubsys.ClassicOptions{EnableDetailedErrors: true}}, {hub: hubsys.HubOptions{EnableDetailedErrors: true}}} {
		srv := newClassicServer(t, config)
		c := dialClassic(t, srv, "longPolling")
		assert.Contains(t, *c.invoke("Add", "x", 1).E, "Error binding arguments")
		assert.Contains(t, *c.invoke("Add", 1).E, "'Add' method could not be resolved. Potential candidates are: \nAdd(int, int)")
		assert.Contains(t, *c.invoke("ADD", 1).E, "'ADD' method could not be resolved. No method found with that name.")
		assert.Contains(t, *c.invoke("Over", 1, 2, 3).E, "Potential candidates are: \nOver()\nOver(string)\nOver(string, int)")
	}
}
