package transport_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/transport"
)

// requireFreed requires that the memory of a socket is free.
func requireFreed(t *testing.T, socket weak.Pointer[transport.WebSocket]) {
	t.Helper()
	require.Eventually(t, func() bool {
		runtime.GC()
		return socket.Value() == nil
	}, testTimeout, 10*time.Millisecond)
}

// unresumedSession is a session that begins to close when it is to go on over another socket.
type unresumedSession struct {
	*resumableSession
	sockets chan weak.Pointer[transport.WebSocket]
}

func (s *unresumedSession) Resume(socket link.Socket) bool {
	s.sockets <- weak.Make(socket.(*transport.WebSocket))
	s.close()
	return false
}

// A WebSocket that comes when the connection begins to close is cut, and its memory is freed.
func TestAWebSocketThatComesTooLateIsFreed(t *testing.T) {
	requireNoLeaks(t)
	e := newTestEndpoint(t)
	e.Resumes = true
	session := &unresumedSession{&resumableSession{testSession: newTestSession()}, make(chan weak.Pointer[transport.WebSocket], 1)}
	e.accept = func(link.Transport) (hubSession, error) { return session, nil }
	server := httptest.NewServer(http.HandlerFunc(e.Connect))
	defer server.Close()
	r := &resumableEndpoint{socketServer: &socketServer{t: t, addr: server.Listener.Addr().String()}, path: "/test?id=" + e.negotiateResumable(t)}
	_, status := r.resume() // which opens the connection
	require.Equal(t, http.StatusSwitchingProtocols, status)
	p := r.mustResume()
	_, _, err := p.tryRead()
	require.Error(t, err)
	require.Eventually(t, func() bool { _, status := r.resume(); return status == http.StatusNotFound }, testTimeout, time.Millisecond)
	requireFreed(t, <-session.sockets)
}

// A WebSocket that comes when the hub takes no further ones is cut, and its memory is freed.
func TestAWebSocketThatIsNotAcceptedIsFreed(t *testing.T) {
	requireNoLeaks(t)
	e := newTestEndpoint(t)
	sockets := make(chan weak.Pointer[transport.WebSocket], 1)
	e.accept = func(l link.Transport) (hubSession, error) {
		sockets <- weak.Make(l.(*transport.WebSocket))
		return nil, errors.New("closing")
	}
	server := httptest.NewServer(http.HandlerFunc(e.Connect))
	defer server.Close()
	h := &socketServer{t: t, addr: server.Listener.Addr().String()}
	p, response := h.request(upgradeRequest("/test", nil))
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	for err := error(nil); err == nil; {
		_, _, err = p.tryRead()
	}
	requireFreed(t, <-sockets)
}
