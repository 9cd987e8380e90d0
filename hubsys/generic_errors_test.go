package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// internal is a text that no client may see: all that fails in these tests fails with it.
const internal = "password=internal"

var errInternal = errors.New(internal)

// failure is how something fails.
type failure string

const (
	fails  failure = "error"
	panics failure = "panic"
)

func (f failure) now() error {
	if f == panics {
		panic(errInternal)
	}
	return fmt.Errorf("%w", errInternal)
}

// failing fails if a failure is wanted here.
func failing(wanted map[string]failure, where string) error {
	if f, ok := wanted[where]; ok {
		return f.now()
	}
	return nil
}

// failingValue can be neither decoded nor encoded, as F says.
type failingValue struct{ F failure }

func (v *failingValue) UnmarshalJSON(b []byte) error {
	return failure(strings.Trim(string(b), `"`)).now()
}
func (v failingValue) MarshalJSON() ([]byte, error) { return nil, v.F.now() }

// failingHub fails wherever its code runs.
type failingHub struct {
	hubsys.Hub
	wanted map[string]failure
}

func (h *failingHub) Fail(f failure) error { return f.now() }
func (h *failingHub) FailWithACause() error {
	return &hubsys.HubError{Message: "for clients", Err: errInternal}
}
func (h *failingHub) Take(*failingValue)                  {}
func (h *failingHub) Give(f failure) failingValue         { return failingValue{f} }
func (h *failingHub) Policed()                            {}
func (h *failingHub) Constructed()                        {}
func (h *failingHub) Served(hubsys.From[*failingService]) {}
func (h *failingHub) Filtered()                           {}
func (h *failingHub) Echo(v any) any                      { return v }
func (h *failingHub) Send(ctx context.Context, f failure) error {
	return h.Clients().Caller().Send(ctx, "x", failingValue{f})
}
func (h *failingHub) OnConnected(context.Context) error { return failing(h.wanted, "OnConnected") }
func (h *failingHub) OnDisconnected(context.Context, error) error {
	return failing(h.wanted, "OnDisconnected")
}
func (h *failingHub) OnAuthenticationRefreshed(context.Context) error {
	return failing(h.wanted, "OnAuthenticationRefreshed")
}

func (h *failingHub) Count(f failure) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		if yield(1, nil) {
			yield(0, f.now())
		}
	}
}

func (h *failingHub) GiveMany(f failure) iter.Seq2[failingValue, error] {
	return func(yield func(failingValue, error) bool) { yield(failingValue{f}, nil) }
}

func (h *failingHub) Upload(items iter.Seq2[failingValue, error]) error {
	for _, err := range items {
		if err != nil {
			return err
		}
	}
	return nil
}

type failingService struct{}

// newFailingServer serves a failingHub that fails in the wanted places.
func newFailingServer(t *testing.T, wanted map[string]failure) (url string) {
	t.Helper()
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(ctx context.Context) (*failingHub, error) {
		call, _ := hubsys.CallFrom(ctx)
		if err := failing(wanted, "constructor for "+call.Method()); err != nil {
			return nil, err
		}
		return &failingHub{wanted: wanted}, nil
	}, hubsys.HubOptions{
		Policy:  func(context.Context, *hubsys.Principal) error { return failing(wanted, "hub policy") },
		Methods: []hubsys.Method{{Func: (*failingHub).Policed, Policy: func(context.Context, *hubsys.Principal) error { return failing(wanted, "policy") }}},
		Filters: []hubsys.Filter{failingFilter(wanted)},
		Services: hubsys.Fields(struct {
			Service func(context.Context) (*failingService, error)
		}{func(context.Context) (*failingService, error) { return nil, failing(wanted, "service") }}),
	})
	require.NoError(t, hub.Map("/failing", hubsys.EndpointOptions{
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			if strings.HasSuffix(r.URL.Path, "/refresh") && wanted["refresh"] != "" {
				return nil, failing(wanted, "refresh")
			}
			p, _ := principalOf(r)
			return p, failing(wanted, "Authenticate")
		},
		AllowOrigin: func(*http.Request, string) bool { return failing(wanted, "AllowOrigin") == nil },
		Refresh:     &hubsys.RefreshOptions{Check: func(*http.Request, *hubsys.Principal, *hubsys.Principal) error { return failing(wanted, "Check") }},
	}))
	return strings.TrimSuffix(serve(t, sys, hub), "/hub") + "/failing"
}

func failingFilter(wanted map[string]failure) hubsys.Filter {
	return func(next hubsys.Handler) hubsys.Handler {
		h := next
		h.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			if in.Method() == "Filtered" {
				if err := failing(wanted, "filter"); err != nil {
					return nil, err
				}
			}
			return next.Invoke(ctx, in)
		}
		return h
	}
}

// requireGeneric requires that a text says that something has failed, and not how.
func requireGeneric(t *testing.T, text string, what ...any) {
	t.Helper()
	require.NotContains(t, text, "internal", what...)
	require.NotContains(t, text, "goroutine", what...)
	require.NotContains(t, text, ".go:", what...)
}

// Errors and panics of calls reach a client as a generic text, whichever code they come from.
func TestErrorsOfCallsAreGeneric(t *testing.T) {
	for _, f := range []failure{fails, panics} {
		t.Run(string(f), func(t *testing.T) {
			url := newFailingServer(t, map[string]failure{"constructor for Constructed": f, "policy": f, "filter": f, "service": f})
			c, packed := dialHandshake(t, url, dialOptions{}), dialPacked(t, url)
			for method, args := range map[string][]any{
				"Fail": {f}, "Take": {string(f)}, "Give": {f}, "Policed": nil, "Constructed": nil, "Served": nil, "Filtered": nil, "Send": {f},
			} {
				text := c.invokeError(method, args...)
				requireGeneric(t, text, method)
				require.Contains(t, text, method, "it names what has failed")
				require.Equal(t, text, packed.invokeError(method, args...), "in MessagePack")
			}
			require.Equal(t, "An unexpected error occurred invoking 'FailWithACause' on the server. HubException: for clients", c.invokeError("FailWithACause"))

			for _, method := range []string{"Count", "GiveMany"} {
				c.send(`{"type":4,"invocationId":"` + method + `","target":"` + method + `","arguments":["` + string(f) + `"]}`)
				end := c.awaitCompletion(method)
				require.NotNil(t, end.Error, end.raw)
				requireGeneric(t, end.raw, method)
			}
			c.send(`{"type":1,"invocationId":"upload","target":"Upload","arguments":[],"streamIds":["s"]}`, `{"type":2,"invocationId":"s","item":"`+string(f)+`"}`)
			end := c.awaitCompletion("upload")
			require.NotNil(t, end.Error, end.raw)
			requireGeneric(t, end.raw)
			for _, r := range c.skipped { // items
				requireGeneric(t, r.raw)
			}
		})
	}
}

// Of arguments that do not fit, a client is told neither which type was expected nor why a value was refused.
func TestErrorsOfArgumentsAreGeneric(t *testing.T) {
	url := newFailingServer(t, nil)
	c, packed := dialHandshake(t, url, dialOptions{}), dialPacked(t, url)
	for _, args := range [][]any{nil, {1, 2}, {"error"}, {"panic"}, {map[string]any{"F": 1}}} {
		for _, text := range []string{c.invokeError("Take", args...), packed.invokeError("Take", args...)} {
			requireGeneric(t, text)
			require.NotContains(t, text, "failingValue", "a name of a type")
			require.NotContains(t, text, "argument", "a number of arguments")
		}
	}
}

// exchange opens a connection over a transport, and returns everything that its client receives until the connection ends.
func exchange(t *testing.T, transport, url string) (received string) {
	t.Helper()
	query := negotiateQuery(t, url)
	const first = handshakeJSON + separator
	switch transport {
	case "WebSockets":
		c := dialSocket(t, url+query, dialOptions{})
		c.sendRaw(first)
		for {
			text, err := c.read()
			if err != nil {
				return received + err.Error() // with the reason of the close frame
			}
			received += text
		}
	case "ServerSentEvents":
		p := dialTCP(t, url)
		p.mustWrite(p.request(http.MethodGet, query, events))
		response := p.response()
		require.Equal(t, http.StatusOK, response.StatusCode)
		status, _ := doRequest(t, http.MethodPost, url+query, first, nil)
		require.Equal(t, http.StatusOK, status)
		b, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(b)
	default:
		status, _ := doRequest(t, http.MethodGet, url+query, "", nil)
		require.Equal(t, http.StatusOK, status)
		status, _ = doRequest(t, http.MethodPost, url+query, first, nil)
		require.Equal(t, http.StatusOK, status)
		for {
			status, body := doRequest(t, http.MethodGet, url+query, "", nil)
			if received += body; status != http.StatusOK {
				return received
			}
		}
	}
}

// A connection whose begin fails is closed with a generic text over each transport.
func TestErrorsOfLifetimeEventsAreGeneric(t *testing.T) {
	for _, f := range []failure{fails, panics} {
		for _, where := range []string{"OnConnected", "constructor for OnConnected"} {
			for _, transport := range []string{"WebSockets", "ServerSentEvents", "LongPolling"} {
				t.Run(fmt.Sprintf("%s of %s over %s", f, where, transport), func(t *testing.T) {
					received := exchange(t, transport, newFailingServer(t, map[string]failure{where: f}))
					require.Contains(t, received, `{"type":7,"error":"Connection closed with an error."}`)
					requireGeneric(t, received)
				})
			}
		}
		t.Run(fmt.Sprintf("%s of OnDisconnected and OnAuthenticationRefreshed", f), func(t *testing.T) {
			url := newFailingServer(t, map[string]failure{"OnDisconnected": f, "OnAuthenticationRefreshed": f})
			short, long := with(userHeader("ada"), "Lifetime", "1h"), with(userHeader("ada"), "Lifetime", "2h")
			_, token := negotiate(t, url, short)
			c, other := dialWith(t, url+"?id="+token, dialOptions{header: short}), dial(t, url)
			status, body := post(t, url+"/refresh?id="+token, long)
			requireGeneric(t, body)
			require.Equal(t, http.StatusOK, status)
			c.sendRaw("garbage" + separator)
			for err := error(nil); err == nil; {
				var text string
				text, err = c.read()
				requireGeneric(t, text)
			}
			other.requireNoMessages()
		})
	}
}

// Answers of HTTP say nothing of the errors and panics of the functions that decide about requests.
func TestErrorsOfRequestsAreGeneric(t *testing.T) {
	for _, f := range []failure{fails, panics} {
		for where, test := range map[string]struct {
			path   string
			header http.Header
		}{
			"Authenticate": {"/negotiate", nil},
			"hub policy":   {"/negotiate", nil},
			"refresh":      {"/refresh?id=x", nil},
			"AllowOrigin":  {"/negotiate", http.Header{"Origin": {"https://app.example"}}},
		} {
			t.Run(fmt.Sprintf("%s of %s", f, where), func(t *testing.T) {
				url := newFailingServer(t, map[string]failure{where: f})
				p := dialTCP(t, url)
				lines := "Content-Length: 0\r\nConnection: close\r\n"
				for name, values := range test.header {
					lines += name + ": " + values[0] + "\r\n"
				}
				p.path += test.path
				p.mustWrite(p.request(http.MethodPost, "", lines))
				answer, err := io.ReadAll(p.r)
				require.NoError(t, err)
				requireGeneric(t, string(answer))
				if where != "AllowOrigin" { // a page without CORS is answered, but cannot read it
					require.Regexp(t, `^HTTP/1.1 (401|403|500) `, string(answer))
				}

				p = dialTCP(t, url)
				p.mustWrite(p.request(http.MethodGet, "", upgradeHeader+lines[strings.Index(lines, "close\r\n")+len("close\r\n"):]))
				response := p.response()
				require.Equal(t, where == "refresh", response.StatusCode == http.StatusSwitchingProtocols)
				if where != "refresh" {
					body, err := io.ReadAll(response.Body)
					require.NoError(t, err)
					requireGeneric(t, string(body))
				}
			})
		}
		t.Run(fmt.Sprintf("%s of Check", f), func(t *testing.T) {
			url := newFailingServer(t, map[string]failure{"Check": f})
			short, long := with(userHeader("ada"), "Lifetime", "1h"), with(userHeader("ada"), "Lifetime", "2h")
			_, token := negotiate(t, url, short)
			c := dialWith(t, url+"?id="+token, dialOptions{header: short})
			status, body := post(t, url+"/refresh?id="+token, long)
			require.Contains(t, []int{http.StatusForbidden, http.StatusInternalServerError}, status)
			requireGeneric(t, body)
			c.requireNoMessages()
		})
	}
}

// What a client says is wrong is not repeated to others, nor explained to it beyond the protocol.
func TestErrorsOfTheProtocolAreGeneric(t *testing.T) {
	url := newFailingServer(t, nil)
	for _, bad := range []string{`{"type":1,"target":5}`, `{"type":"internal"}`, "internal", strings.Repeat("x", 40000)} {
		c := dialHandshake(t, url, dialOptions{})
		c.send(bad)
		require.Equal(t, closeErrorJSON, c.next().raw)
		require.EqualValues(t, 1000, c.requireClosed())
	}
	packed := dialPacked(t, url)
	packed.write([]byte("\x02\x91\xc1"))
	_, answer, err := packed.ws.Read(t.Context())
	require.NoError(t, err)
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(answer, &m))
	require.Equal(t, "Connection closed with an error.", string(m.Error))
}
