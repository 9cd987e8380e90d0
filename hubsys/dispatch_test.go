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

// faulty is a hub in which everything goes wrong.
type faulty struct{ hubsys.Hub }

type (
	failingJSON   struct{}
	panickingJSON struct{}
	strictArg     struct{}
)

func (failingJSON) MarshalJSON() ([]byte, error)   { return nil, errors.New("not today") }
func (panickingJSON) MarshalJSON() ([]byte, error) { panic("marshal") }
func (*strictArg) UnmarshalJSON([]byte) error      { panic("unmarshal") }

func (*faulty) Takes(int, string)       {}
func (*faulty) Error() error            { return errors.New("secret") }
func (*faulty) HubError() error         { return hubsys.Errorf("for %s", "you") }
func (*faulty) WrappedHubError() error  { return fmt.Errorf("secret: %w", hubsys.Errorf("wrapped")) }
func (*faulty) NilHubError() error      { var err *hubsys.HubError; _ = err; return nil }
func (*faulty) Panic()                  { panic("secret") }
func (*faulty) PanicError()             { panic(errors.New("secret")) }
func (*faulty) PanicHubError()          { panic(hubsys.Errorf("from a panic")) }
func (*faulty) PanicNil()               { panic(nil) }
func (*faulty) NilMap()                 { var m map[string]int; m["a"] = 1 }
func (*faulty) Goexit()                 { runtime.Goexit() }
func (*faulty) FailingResult() any      { return failingJSON{} }
func (*faulty) PanickingResult() any    { return panickingJSON{} }
func (*faulty) ChannelResult() any      { return make(chan int) }
func (*faulty) PanickingArg(*strictArg) {}
func (h *faulty) FailingSend(ctx context.Context) error {
	return h.Clients().All().Send(ctx, "x", failingJSON{})
}
func (h *faulty) PanickingSend(ctx context.Context) error {
	return h.Clients().All().Send(ctx, "x", 1, panickingJSON{})
}

func (h *faulty) Lenient(ctx context.Context) (string, error) {
	if err := h.Clients().All().Send(ctx, "x", panickingJSON{}); err != nil {
		return "went on", nil
	}
	return "", nil
}

const (
	unexpected = "An unexpected error occurred invoking '%s' on the server."
	notInvoked = "Failed to invoke '%s' due to an error on the server."
)

// outcomes are the texts of failed calls: what everybody sees, and what is added with detailed errors ("…": and more).
var outcomes = []struct {
	method   string
	args     []any
	text     string
	detailed string
	as       string // the name in the text, if it is not the method
}{
	{"NoSuch", nil, notInvoked + " HubException: Method does not exist.", "", ""},
	{"nOsUCH", []any{1, 2}, notInvoked + " HubException: Method does not exist.", "", ""},
	{"Takes", nil, notInvoked, " Error: Invocation provides 0 argument(s) but target expects 2.", ""},
	{"TAKES", []any{1}, notInvoked, " Error: Invocation provides 1 argument(s) but target expects 2.", "Takes"},
	{"Takes", []any{1, "2", 3}, notInvoked, " Error: Invocation provides 3 argument(s) but target expects 2.", ""},
	{"Takes", []any{"1", "2"}, notInvoked, " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.", ""},
	{"Takes", []any{nil, "2"}, notInvoked, " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.", ""},
	{"Takes", []any{1.5, "2"}, notInvoked, " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.", ""},
	{"Error", nil, unexpected, " Error: secret", ""},
	{"error", nil, unexpected, " Error: secret", "Error"},
	{"HubError", nil, unexpected + " HubException: for you", "", ""},
	{"WrappedHubError", nil, unexpected + " HubException: wrapped", "", ""},
	{"Panic", nil, unexpected, " Error: panic: secret", ""},
	{"PanicError", nil, unexpected, " Error: panic: secret", ""},
	{"PanicHubError", nil, unexpected + " HubException: from a panic", "", ""},
	{"PanicNil", nil, unexpected, " Error: panic: panic called with nil argument…", ""},
	{"NilMap", nil, unexpected, " Error: panic: assignment to entry in nil map", ""},
	{"Goexit", nil, unexpected, " Error: runtime.Goexit was called", ""},
	{"FailingResult", nil, unexpected, " Error: json: error calling MarshalJSON…", ""},
	{"PanickingResult", nil, unexpected, " Error: panic: marshal", ""},
	{"ChannelResult", nil, unexpected, " Error: json: unsupported type: chan int", ""},
	{"PanickingArg", []any{1}, unexpected, " Error: panic: unmarshal", ""},
	{"FailingSend", nil, unexpected, ` Error: hubsys: the arguments of "x" cannot be encoded: json: error calling MarshalJSON…`, ""},
	{"PanickingSend", nil, unexpected, ` Error: hubsys: the arguments of "x" cannot be encoded: panic: marshal`, ""},
}

func TestOutcomesOfFailedCalls(t *testing.T) {
	for _, detailed := range []bool{false, true} {
		t.Run(fmt.Sprint("detailed=", detailed), func(t *testing.T) {
			sys := newSystem(t, hubsys.Config{})
			hub := register(t, sys, func(context.Context) (*faulty, error) { return &faulty{}, nil }, hubsys.HubOptions{EnableDetailedErrors: detailed})
			url := serve(t, sys, hub)
			c, neighbour := dial(t, url), dial(t, url)
			for _, o := range outcomes {
				name := o.method
				if o.as != "" {
					name = o.as
				}
				want := fmt.Sprintf(o.text, name)
				got := c.fails(o.method, o.args...)
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
			// Nobody else has noticed anything.
			require.Equal(t, "null", string(neighbour.invoke("Takes", 1, "2").Result))
			require.Empty(t, neighbour.aside)
			require.Empty(t, c.aside)
		})
	}
}

// The wire of calls that cannot be had from a client library.
func TestOutcomesOfOddCalls(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*faulty, error) { return &faulty{}, nil }, hubsys.HubOptions{})
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
	hub := register(t, sys, func(context.Context) (*faulty, error) { return &faulty{}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	for _, o := range outcomes {
		c.send(invocation("", o.method, o.args...), strings.Replace(invocation("", o.method, o.args...), "{", `{"invocationId":"",`, 1))
	}
	c.invoke("Takes", 1, "2")
	require.Empty(t, c.aside)
}

// ---- hub values

// counted knows its kin.
type counted struct {
	hubsys.Hub
	number int64
	used   bool
	closed chan<- int64
}

func (h *counted) Number() (int64, error) {
	if h.used {
		return 0, errors.New("this value has served a call already")
	}
	h.used = true
	return h.number, nil
}

func (h *counted) Panic() { panic("number") }
func (h *counted) Exit()  { runtime.Goexit() }

func (h *counted) Close() error {
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
	log := &journal{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	hub := register(t, sys, func(context.Context) (*counted, error) { return &counted{number: last.Add(1), closed: closed}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	require.EqualValues(t, 1, wait(t, closed), "OnConnected")
	for i := int64(2); i <= 10; i++ {
		require.Equal(t, fmt.Sprint(i), string(c.invoke("Number").Result))
		require.Equal(t, i, wait(t, closed))
	}
	c.fails("Panic")
	require.EqualValues(t, 11, wait(t, closed))
	c.fails("Exit")
	require.EqualValues(t, 12, wait(t, closed))
	c.fails("NoSuch")
	c.fails("Number", "too many")
	c.leave()
	require.EqualValues(t, 13, wait(t, closed), "OnDisconnected; calls that reach no method have no value")
	require.Empty(t, closed)
	require.Contains(t, log.String(), "Close fails")
	require.Contains(t, log.String(), "Close panics")
}

// built has a constructor that does what the test says.
type built struct {
	hubsys.Hub
	id string
}

func (h *built) Who() string { return h.id + h.Call().ConnectionID()[:0] }

func TestConstructorsThatFail(t *testing.T) {
	var create atomic.Value
	good := func(context.Context) (*built, error) { return &built{id: "good"}, nil }
	create.Store(good)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(ctx context.Context) (*built, error) {
		return create.Load().(func(context.Context) (*built, error))(ctx)
	}, hubsys.HubOptions{EnableDetailedErrors: true})
	url := serve(t, sys, hub)
	c := dial(t, url)
	require.Equal(t, `"good"`, string(c.invoke("Who").Result))
	shared := &built{}
	for _, test := range []struct {
		create func(context.Context) (*built, error)
		text   string
	}{
		{func(context.Context) (*built, error) { return nil, errors.New("no database") }, " Error: no database"},
		{func(context.Context) (*built, error) { return nil, hubsys.Errorf("come back later") }, " HubException: come back later"},
		{func(context.Context) (*built, error) { return nil, nil }, " Error: hubsys: the constructor has returned nil"},
		{func(context.Context) (*built, error) { panic("in the constructor") }, " Error: panic: in the constructor"},
		{func(context.Context) (*built, error) { return shared, nil }, ""},
		{func(context.Context) (*built, error) { return shared, nil }, " Error: hubsys: the constructor has returned a hub value that serves another call"},
	} {
		create.Store(test.create)
		if test.text == "" {
			require.Equal(t, `""`, string(c.invoke("Who").Result))
			continue
		}
		require.Equal(t, fmt.Sprintf(unexpected, "Who")+test.text, c.fails("Who"))
		// A connection whose OnConnected cannot be run is closed.
		closed := open(t, url, dialing{})
		closed.send(greeting)
		require.Equal(t, "{}", closed.next().raw)
		text, err := json.Marshal("Connection closed with an error." + test.text)
		require.NoError(t, err)
		require.Equal(t, `{"type":7,"error":`+string(text)+`}`, closed.next().raw)
		require.EqualValues(t, 1000, closed.ended())
	}
	create.Store(good)
	require.Equal(t, `"good"`, string(c.invoke("Who").Result))
}

func TestAConstructorSeesItsCall(t *testing.T) {
	ids := make(chan string, 10)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(ctx context.Context) (*built, error) {
		k, ok := hubsys.CallFrom(ctx)
		require.True(t, ok)
		ids <- k.ConnectionID()
		return &built{id: k.Request().Query("name")}, nil
	}, hubsys.HubOptions{})
	c, id := dialID(t, serve(t, sys, hub), nil)
	require.Equal(t, `""`, string(c.invoke("Who").Result))
	require.Equal(t, id, wait(t, ids))
	require.Equal(t, id, wait(t, ids))
}

func TestAHubValueThatServesNoCallSaysSo(t *testing.T) {
	const text = "hubsys: this hub value serves no call: hub values are made by the constructor that was passed to Register, for one call each"
	require.PanicsWithValue(t, text, func() { new(built).Call() })
	require.PanicsWithValue(t, text, func() { new(built).Clients() })
	require.PanicsWithValue(t, text, func() { new(built).Groups() })
}
