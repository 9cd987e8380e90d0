package hubsys_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// bodies is a world whose clients announce bodies that never come.
type bodies struct {
	w      *world
	g      *gate
	server *http.Server
}

func newBodies(t *testing.T, readTimeout time.Duration, s setup) *bodies {
	b := &bodies{g: &gate{}}
	s.server = func(server *httptest.Server) {
		b.server = server.Config
		b.server.ReadTimeout = readTimeout
		gated(b.g)(server)
	}
	b.w = newWorld(t, s)
	return b
}

// begin sends a request with a part of the body that it announces, and returns when the server has taken it up.
func (b *bodies) begin(t testing.TB, method, path, query, header, part string) *raw {
	t.Helper()
	p := connect(t, b.w.url)
	p.path += path
	before := b.g.entered.Load()
	p.mustWrite(p.request(method, query, header+"Content-Length: 1000\r\n") + part)
	eventually(t, func() bool { return b.g.entered.Load() > before }, "the request is taken up")
	return p
}

// gone waits until the server has closed a TCP connection, and with it whatever has served it.
func gone(t testing.TB, p *raw, patience time.Duration, what string) {
	t.Helper()
	assert.NoError(t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.Copy(io.Discard, p.r)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%s: the server holds on to it", what)
}

// over makes sure that nothing of the server's is left.
func (b *bodies) over(t testing.TB) {
	t.Helper()
	eventually(t, func() bool { return b.g.inside.Load() == 0 }, "no request is left")
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(t, b.w.sys.Shutdown(ctx))
	require.NoError(t, b.server.Shutdown(ctx))
}

const events = "Accept: text/event-stream\r\n"

// stuck begins every request whose body does not decide about the connection.
func (b *bodies) stuck(t testing.TB) map[string]*raw {
	polls := poller(t, b.w.url, "json")
	status, body := roundTrip(t, http.MethodGet, b.w.url+polls, "", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "{}"+separator, body)
	socketQuery := opening(t, b.w.url)
	require.Equal(t, http.StatusSwitchingProtocols, connect(t, b.w.url).upgrade(socketQuery, ""))
	return map[string]*raw{
		"a negotiation":              b.begin(t, http.MethodPost, "/negotiate", "", "", "x"),
		"a POST for nobody":          b.begin(t, http.MethodPost, "", "?id=none", "", ""),
		"a POST for a WebSocket":     b.begin(t, http.MethodPost, "", socketQuery, "", ""),
		"a first poll":               b.begin(t, http.MethodGet, "", opening(t, b.w.url), "", ""),
		"a poll":                     b.begin(t, http.MethodGet, "", polls, "", "x"),
		"an event stream":            b.begin(t, http.MethodGet, "", opening(t, b.w.url), events, ""),
		"a DELETE of an unknown one": b.begin(t, http.MethodDelete, "", "?id=none", "", ""),
		"a request of another path":  b.begin(t, http.MethodPost, "/other", "", "", ""),
	}
}

// A body that was announced and never comes holds nothing when the server has a ReadTimeout, whatever the request.
func TestBodiesThatNeverComeEndWithTheServersTimeout(t *testing.T) {
	b := newBodies(t, 500*time.Millisecond, setup{
		HubOptions:      hubsys.HubOptions{HandshakeTimeout: time.Second},
		EndpointOptions: hubsys.EndpointOptions{PollTimeout: 500 * time.Millisecond, CloseTimeout: time.Second},
	})
	var all sync.WaitGroup
	for what, p := range b.stuck(t) {
		all.Go(func() { gone(t, p, within, what) })
	}
	all.Wait()
	b.over(t)
}

// A POST ends with its connection, whether it is being read or waits for its turn.
func TestPostsThatNeverEndEndWithTheirConnection(t *testing.T) {
	ends := map[string]func(t *testing.T, b *bodies, query string){
		"DELETE": func(t *testing.T, b *bodies, query string) {
			p := connect(t, b.w.url) // an HTTP client might make the request twice
			p.mustWrite(p.request(http.MethodDelete, query, ""))
			require.Equal(t, http.StatusAccepted, p.response().StatusCode, "%s", b.w.log)
		},
		"Shutdown": func(t *testing.T, b *bodies, _ string) { require.NoError(t, shutdown(b.w.sys)) },
	}
	for name, end := range ends {
		for _, timeout := range []time.Duration{0, 500 * time.Millisecond} {
			for _, part := range []string{"", `{"type":6}` + separator + "x"} {
				t.Run(fmt.Sprintf("%s, ReadTimeout %s, %d bytes", name, timeout, len(part)), func(t *testing.T) {
					t.Parallel()
					b := newBodies(t, timeout, setup{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: time.Second}})
					query := poller(t, b.w.url, "json")
					var posts []*raw
					for range 3 {
						posts = append(posts, b.begin(t, http.MethodPost, "", query, "", part))
					}
					end(t, b, query)
					var all sync.WaitGroup
					for i, p := range posts {
						all.Go(func() { gone(t, p, within, fmt.Sprint("POST ", i)) })
					}
					all.Wait()
					b.over(t)
				})
			}
		}
	}
}

// A POST for a connection that has no transport yet ends when that is given up, at the latest.
func TestAPostForAConnectionThatNobodyOpens(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes as long as a body may pause")
	}
	b := newBodies(t, 500*time.Millisecond, setup{})
	var all sync.WaitGroup
	for _, part := range []string{"", "x"} {
		p := b.begin(t, http.MethodPost, "", opening(t, b.w.url), "", part)
		all.Go(func() { gone(t, p, 2*within, fmt.Sprintf("%d bytes", len(part))) })
	}
	all.Wait()
	b.over(t)
}

// Without any timeout of the server's, a body may pause for half a minute.
func TestBodiesThatNeverComeEndByThemselves(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes as long as a body may pause")
	}
	b := newBodies(t, 0, setup{EndpointOptions: hubsys.EndpointOptions{
		PollTimeout: 500 * time.Millisecond, CloseTimeout: time.Second, TransportSendTimeout: time.Minute,
	}})
	stuck := b.stuck(t)
	delete(stuck, "a request of another path") // which is no business of ours
	stuck["a POST"] = b.begin(t, http.MethodPost, "", poller(t, b.w.url, "json"), "", "x")
	stuck["a POST for a connection that nobody opens"] = b.begin(t, http.MethodPost, "", opening(t, b.w.url), "", "")
	var all sync.WaitGroup
	for what, p := range stuck {
		all.Go(func() { gone(t, p, 2*within, what) })
	}
	all.Wait()
	b.over(t)
}
