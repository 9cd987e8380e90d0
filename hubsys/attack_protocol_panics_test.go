package hubsys_test

import (
	"bytes"
	"context"
	"net/http"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// panickingProtocol is a hub protocol that panics on marked messages.
type panickingProtocol struct{ hubproto.Protocol }

func panicIfMarked(where string, b []byte) {
	if bytes.Contains(b, []byte("panic in "+where)) {
		panic("in " + where)
	}
}

func (p panickingProtocol) Next(buf []byte, searched, limit int) (int, error) {
	panicIfMarked("Next", buf)
	return p.Protocol.Next(buf, searched, limit)
}

func (p panickingProtocol) Parse(record []byte, m *hubproto.Message) error {
	panicIfMarked("Parse", record)
	return p.Protocol.Parse(record, m)
}

func (p panickingProtocol) BindArguments(arguments []byte, params []reflect.Value) error {
	panicIfMarked("BindArguments", arguments)
	return p.Protocol.BindArguments(arguments, params)
}

func (p panickingProtocol) AppendResult(dst, id []byte, result any) ([]byte, error) {
	if text, ok := result.(string); ok {
		panicIfMarked("AppendResult", []byte(text))
	}
	return p.Protocol.AppendResult(dst, id, result)
}

// newPanickingProtocolServer returns a server with a panickingProtocol, and the errors that its OnDisconnected receives.
func newPanickingProtocolServer(t *testing.T) (srv *testServer, left chan error) {
	left = make(chan error, 10)
	return newTestServer(t, testConfig{
		HubOptions:      hubsys.HubOptions{Protocols: []hubproto.Protocol{panickingProtocol{hubproto.JSON}}},
		EndpointOptions: hubsys.EndpointOptions{CloseTimeout: 1e9},
		onDisconnected:  func(_ context.Context, _ *testHub, cause error) error { left <- cause; return nil },
	}), left
}

func markedInvocation(where string) string {
	return invocation("1", "Echo", "panic in "+where) + separator
}

// A protocol that panics on a client's message ends that client's connection only.
func TestAProtocolThatPanicsEndsOneConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv, left := newPanickingProtocolServer(t)
		others := newClientSet(srv, 3)
		for _, where := range []string{"Next", "Parse"} {
			c := dial(t, srv.url)
			c.sendRaw(markedInvocation(where))
			for {
				if _, err := c.read(); err != nil {
					break
				}
			}
			require.Error(t, receive(t, left), "the error of OnDisconnected after %s", where)
			others.requireWorking()

			query := startPolling(t, srv.url, "json")
			recoverPanic(func() { serveRequest(srv.sys, http.MethodPost, "/test"+query, markedInvocation(where), nil) })
			require.Error(t, receive(t, left), "the error of OnDisconnected after %s in a POST", where)
			others.requireWorking()
		}
		require.Empty(t, left)
		require.NoError(t, shutdown(srv.sys))
	})
}

// The message may come together with the handshake, or before the connection has a transport.
func TestAProtocolThatPanicsOnTheFirstMessageEndsOneConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv, _ := newPanickingProtocolServer(t)
		others := newClientSet(srv, 3)
		for _, where := range []string{"Next", "Parse"} {
			c := dialSocket(t, srv.url, dialOptions{})
			c.sendRaw(handshakeJSON + separator + markedInvocation(where))
			for {
				if _, err := c.read(); err != nil {
					break
				}
			}
			query := negotiateQuery(t, srv.url)
			serveRequest(srv.sys, http.MethodPost, "/test"+query, handshakeJSON+separator+markedInvocation(where), nil)
			recoverPanic(func() { serveRequest(srv.sys, http.MethodGet, "/test"+query, "", nil) })
			others.requireWorking()

			query = negotiateQuery(t, srv.url)
			serveRequest(srv.sys, http.MethodPost, "/test"+query, handshakeJSON+separator+markedInvocation(where), nil)
			dialTCP(t, srv.url).upgrade(query, "")
			others.requireWorking()
		}
		require.NoError(t, shutdown(srv.sys))
	})
}

// recoverPanic calls a handler, and recovers from its panic as net/http would.
func recoverPanic(request func()) {
	defer func() { _ = recover() }()
	request()
}

// A protocol that panics on the arguments or the result of a call fails that call only.
func TestAProtocolThatPanicsInACallFailsTheCall(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv, left := newPanickingProtocolServer(t)
		others := newClientSet(srv, 2)
		c := dial(t, srv.url)
		for _, where := range []string{"BindArguments", "AppendResult"} {
			require.NotNil(t, c.invoke("Echo", "panic in "+where).Error, where)
			c.requireNoMessages()
			others.requireWorking()
			c.skipped, c.unread = nil, ""
			c.requireInvocation("all", "here")
		}
		require.Empty(t, left)
		require.NoError(t, shutdown(srv.sys))
	})
}
