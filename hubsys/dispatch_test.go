package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// errorHub is a hub whose methods fail in various ways.
type errorHub struct{ hubsys.Hub }

type (
	failingJSON   struct{}
	panickingJSON struct{}
	strictArg     struct{}
)

func (failingJSON) MarshalJSON() ([]byte, error)   { return nil, errors.New("not today") }
func (panickingJSON) MarshalJSON() ([]byte, error) { panic("marshal") }
func (*strictArg) UnmarshalJSON([]byte) error      { panic("unmarshal") }

func (*errorHub) Takes(int, string)       {}
func (*errorHub) Error() error            { return errors.New("secret") }
func (*errorHub) HubError() error         { return hubsys.Errorf("for %s", "you") }
func (*errorHub) WrappedHubError() error  { return fmt.Errorf("secret: %w", hubsys.Errorf("wrapped")) }
func (*errorHub) NilHubError() error      { var err *hubsys.HubError; _ = err; return nil }
func (*errorHub) Panic()                  { panic("secret") }
func (*errorHub) PanicError()             { panic(errors.New("secret")) }
func (*errorHub) PanicHubError()          { panic(hubsys.Errorf("from a panic")) }
func (*errorHub) PanicNil()               { panic(nil) }
func (*errorHub) NilMap()                 { var m map[string]int; m["a"] = 1 }
func (*errorHub) Goexit()                 { runtime.Goexit() }
func (*errorHub) FailingResult() any      { return failingJSON{} }
func (*errorHub) PanickingResult() any    { return panickingJSON{} }
func (*errorHub) ChannelResult() any      { return make(chan int) }
func (*errorHub) PanickingArg(*strictArg) {}
func (h *errorHub) FailingSend(ctx context.Context) error {
	return h.Clients().All().Send(ctx, "x", failingJSON{})
}
func (h *errorHub) PanickingSend(ctx context.Context) error {
	return h.Clients().All().Send(ctx, "x", 1, panickingJSON{})
}

func (h *errorHub) Lenient(ctx context.Context) (string, error) {
	if err := h.Clients().All().Send(ctx, "x", panickingJSON{}); err != nil {
		return "went on", nil
	}
	return "", nil
}

const (
	unexpectedErrorFormat = "An unexpected error occurred invoking '%s' on the server."
	notInvokedFormat      = "Failed to invoke '%s' due to an error on the server."
)

// failedCalls lists calls that fail, the error without detailed errors, and what detailed errors add ("…" stands for any text).
var failedCalls = []struct {
	method   string
	args     []any
	text     string
	detailed string
	as       string // the name in the text, if it differs from method
}{
	{"NoSuch", nil, notInvokedFormat + " HubException: Method does not exist.", "", ""},
	{"nOsUCH", []any{1, 2}, notInvokedFormat + " HubException: Method does not exist.", "", ""},
	{"Takes", nil, notInvokedFormat, " Error: Invocation provides 0 argument(s) but target expects 2.", ""},
	{"TAKES", []any{1}, notInvokedFormat, " Error: Invocation provides 1 argument(s) but target expects 2.", "Takes"},
	{"Takes", []any{1, "2", 3}, notInvokedFormat, " Error: Invocation provides 3 argument(s) but target expects 2.", ""},
	{"Takes", []any{"1", "2"}, notInvokedFormat, " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.", ""},
	{"Takes", []any{nil, "2"}, notInvokedFormat, " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.", ""},
	{"Takes", []any{1.5, "2"}, notInvokedFormat, " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.", ""},
	{"Error", nil, unexpectedErrorFormat, " Error: secret", ""},
	{"error", nil, unexpectedErrorFormat, " Error: secret", "Error"},
	{"HubError", nil, unexpectedErrorFormat + " HubException: for you", "", ""},
	{"WrappedHubError", nil, unexpectedErrorFormat + " HubException: wrapped", "", ""},
	{"Panic", nil, unexpectedErrorFormat, " Error: panic: secret", ""},
	{"PanicError", nil, unexpectedErrorFormat, " Error: panic: secret", ""},
	{"PanicHubError", nil, unexpectedErrorFormat + " HubException: from a panic", "", ""},
	{"PanicNil", nil, unexpectedErrorFormat, " Error: panic: panic called with nil argument…", ""},
	{"NilMap", nil, unexpectedErrorFormat, " Error: panic: assignment to entry in nil map", ""},
	{"Goexit", nil, unexpectedErrorFormat, " Error: runtime.Goexit was called", ""},
	{
		"FailingResult", nil, unexpectedErrorFormat, ` Error: hubsys: the result of "FailingResult" cannot be encoded: json: error calling MarshalJSON…`, "",
	},
	{"PanickingResult", nil, unexpectedErrorFormat, " Error: panic: marshal", ""},
	{
		"ChannelResult", nil, unexpectedErrorFormat, ` Error: hubsys: the result of "ChannelResult" cannot be encoded: json: unsupported type: chan int`, "",
	},
	{"PanickingArg", []any{1}, unexpectedErrorFormat, " Error: panic: unmarshal", ""},
	{"FailingSend", nil, unexpectedErrorFormat, ` Error: hubsys: the arguments of "x" cannot be encoded: json: error calling MarshalJSON…`, ""},
	{"PanickingSend", nil, unexpectedErrorFormat, ` Error: hubsys: the arguments of "x" cannot be encoded: panic: marshal`, ""},
}

func TestOutcomesOfFailedCalls(t *testing.T) {
	for _, detailed := range []bool{false, true} {
		t.Run(fmt.Sprint("detailed=", detailed), func(t *testing.T) {
			sys := newSystem(t, hubsys.Config{})
			hub := register(t, sys, func(context.Context) (*errorHub, error) { return &errorHub{}, nil },
				hubsys.HubOptions{EnableDetailedErrors: detailed})
			url := serve(t, sys, hub)
			c, bystander := dial(t, url), dial(t, url)
			for _, o := range failedCalls {
				name := o.method
				if o.as != "" {
					name = o.as
				}
				want := fmt.Sprintf(o.text, name)
				got := c.invokeError(o.method, o.args...)
				if detailed {
					if begin, found := strings.CutSuffix(want+o.detailed, "…"); found {
						require.True(t, strings.HasPrefix(got, begin), got)
						continue
					}
					require.Equal(t, want+o.detailed, got)
				} else {
					require.Equal(t, want, got, o.method)
				}
			}
			require.Equal(t, `"went on"`, string(c.invoke("Lenient").Result))
			// Other clients are not affected.
			require.Equal(t, "null", string(bystander.invoke("Takes", 1, "2").Result))
			require.Empty(t, bystander.skipped)
			require.Empty(t, c.skipped)
		})
	}
}

// These calls cannot be sent with a client library.
func TestOutcomesOfUnusualCalls(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*errorHub, error) { return &errorHub{}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	answer := func(record, want string) {
		t.Helper()
		c.send(record)
		require.Equal(t, want, c.next().raw)
	}
	answer(`{"type":4,"invocationId":"1","target":"takes","arguments":[1,"2"]}`, `{"type":3,"invocationId":"1","error":"The client attempted to invoke the non-streaming 'Takes' method with a streaming invocation."}`)
	answer(`{"type":4,"invocationId":"2","target":"Takes","arguments":[]}`, `{"type":3,"invocationId":"2","error":"Failed to invoke 'Takes' due to an error on the server."}`)
	answer(`{"type":4,"invocationId":"3","target":"None","arguments":[]}`, `{"type":3,"invocationId":"3","error":"Failed to invoke 'None' due to an error on the server. HubException: Method does not exist."}`)
	answer(`{"type":1,"invocationId":"4","target":"Takes","arguments":[],"target":"None"}`, `{"type":3,"invocationId":"4","error":"Unknown hub method 'None'"}`)
	answer(`{"type":1,"invocationId":"5","target":"None","arguments":[1,"2"],"target":"Takes"}`, `{"type":3,"invocationId":"5","result":null}`)
	answer(`{"type":1,"invocationId":"\u0036 \"","target":"T\u0061kes","arguments":[1,"2"]}`, `{"type":3,"invocationId":"6 \"","result":null}`)
}

func TestCallsWithoutAnIDAreNotAnswered(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*errorHub, error) { return &errorHub{}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	for _, o := range failedCalls {
		c.send(invocation("", o.method, o.args...), strings.Replace(invocation("", o.method, o.args...), "{", `{"invocationId":"",`, 1))
	}
	c.invoke("Takes", 1, "2")
	require.Empty(t, c.skipped)
}

// closerHub has a number, and reports its Close.
type closerHub struct {
	hubsys.Hub
	number int64
	used   bool
	closed chan<- int64
}

func (h *closerHub) Number() (int64, error) {
	if h.used {
		return 0, errors.New("this value has served a call already")
	}
	h.used = true
	return h.number, nil
}

func (h *closerHub) Panic() { panic("number") }
func (h *closerHub) Exit()  { runtime.Goexit() }

func (h *closerHub) Close() error {
	h.closed <- h.number
	switch h.number % 3 {
	case 0:
		return errors.New("Close fails")
	case 1:
		panic("Close panics")
	}
	return nil
}

func TestEveryCallHasAValueOfItsOwnWhichIsClosedOnce(t *testing.T) {
	closed := make(chan int64, 100)
	var last atomic.Int64
	log := &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	hub := register(t, sys, func(context.Context) (*closerHub, error) { return &closerHub{number: last.Add(1), closed: closed}, nil },
		hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	require.EqualValues(t, 1, receive(t, closed), "OnConnected")
	for i := int64(2); i <= 10; i++ {
		require.Equal(t, fmt.Sprint(i), string(c.invoke("Number").Result))
		require.Equal(t, i, receive(t, closed))
	}
	c.invokeError("Panic")
	require.EqualValues(t, 11, receive(t, closed))
	c.invokeError("Exit")
	require.EqualValues(t, 12, receive(t, closed))
	c.invokeError("NoSuch")
	c.invokeError("Number", "too many")
	c.close()
	require.EqualValues(t, 13, receive(t, closed), "OnDisconnected; calls that reach no method have no value")
	require.Empty(t, closed)
	require.Contains(t, log.String(), "Close fails")
	require.Contains(t, log.String(), "Close panics")
}

// To hide Close from clients, who cannot call it anyway, changes nothing.
func TestAHiddenCloseIsCalled(t *testing.T) {
	closed := make(chan int64, 100)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*closerHub, error) { return &closerHub{number: 1, closed: closed}, nil },
		hubsys.HubOptions{Methods: []hubsys.Method{{Func: (*closerHub).Close, Hidden: true}}})
	c := dial(t, serve(t, sys, hub))
	receive(t, closed) // OnConnected
	c.invoke("Number")
	receive(t, closed)
	c.invokeError("Close")
	c.close()
	receive(t, closed) // OnDisconnected
}

// constructedHub is a hub whose constructor is set by the test.
type constructedHub struct {
	hubsys.Hub
	id string
}

func (h *constructedHub) Who() string { return h.id + h.Call().ConnectionID()[:0] }

func TestConstructorsThatFail(t *testing.T) {
	var create atomic.Value
	good := func(context.Context) (*constructedHub, error) { return &constructedHub{id: "good"}, nil }
	create.Store(good)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(ctx context.Context) (*constructedHub, error) {
		return create.Load().(func(context.Context) (*constructedHub, error))(ctx)
	}, hubsys.HubOptions{EnableDetailedErrors: true})
	url := serve(t, sys, hub)
	c := dial(t, url)
	require.Equal(t, `"good"`, string(c.invoke("Who").Result))
	shared := &constructedHub{}
	for _, test := range []struct {
		create func(context.Context) (*constructedHub, error)
		text   string
	}{
		{func(context.Context) (*constructedHub, error) { return nil, errors.New("no database") }, " Error: no database"},
		{func(context.Context) (*constructedHub, error) { return nil, hubsys.Errorf("come back later") }, " HubException: come back later"},
		{func(context.Context) (*constructedHub, error) { return nil, nil }, " Error: hubsys: the constructor has returned nil"},
		{func(context.Context) (*constructedHub, error) { panic("in the constructor") }, " Error: panic: in the constructor"},
		{func(context.Context) (*constructedHub, error) { return shared, nil }, ""},
		{func(context.Context) (*constructedHub, error) { return shared, nil }, " Error: hubsys: the constructor has returned a hub value that serves another call"},
	} {
		create.Store(test.create)
		if test.text == "" {
			require.Equal(t, `""`, string(c.invoke("Who").Result))
			continue
		}
		require.Equal(t, fmt.Sprintf(unexpectedErrorFormat, "Who")+test.text, c.invokeError("Who"))
		// A connection is closed if the constructor fails for OnConnected.
		closed := dialSocket(t, url, dialOptions{})
		closed.send(handshakeJSON)
		require.Equal(t, "{}", closed.next().raw)
		text, err := json.Marshal("Connection closed with an error." + test.text)
		require.NoError(t, err)
		require.Equal(t, `{"type":7,"error":`+string(text)+`}`, closed.next().raw)
		require.EqualValues(t, 1000, closed.requireClosed())
	}
	create.Store(good)
	require.Equal(t, `"good"`, string(c.invoke("Who").Result))
}

func TestAConstructorSeesItsCall(t *testing.T) {
	ids := make(chan string, 10)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(ctx context.Context) (*constructedHub, error) {
		k, ok := hubsys.CallFrom(ctx)
		require.True(t, ok)
		ids <- k.ConnectionID()
		return &constructedHub{id: k.Request().Query("name")}, nil
	}, hubsys.HubOptions{})
	c, id := dialWithID(t, serve(t, sys, hub), nil)
	require.Equal(t, `""`, string(c.invoke("Who").Result))
	require.Equal(t, id, receive(t, ids))
	require.Equal(t, id, receive(t, ids))
}

func TestAHubValueWithoutACallPanics(t *testing.T) {
	const text = "hubsys: this hub value serves no call: hub values are made by the constructor that was passed to Register, for one call each"
	require.PanicsWithValue(t, text, func() { new(constructedHub).Call() })
	require.PanicsWithValue(t, text, func() { new(constructedHub).Clients() })
	require.PanicsWithValue(t, text, func() { new(constructedHub).Groups() })
}
