package hubsys_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// deadlines notes the deadlines that are set for requests of a path.
type deadlines struct {
	path string

	mu          sync.Mutex
	read, write []time.Time
}

type deadlineWriter struct {
	http.ResponseWriter
	notes *deadlines
}

func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *deadlineWriter) SetReadDeadline(t time.Time) error {
	w.notes.mu.Lock()
	defer w.notes.mu.Unlock()
	w.notes.read = append(w.notes.read, t)
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

func (w *deadlineWriter) SetWriteDeadline(t time.Time) error {
	w.notes.mu.Lock()
	defer w.notes.mu.Unlock()
	w.notes.write = append(w.notes.write, t)
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

func (d *deadlines) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == d.path {
			w = &deadlineWriter{w, d}
		}
		next.ServeHTTP(w, r)
	})
}

// A poll waits without deadlines, before a keep-alive and behind it: over HTTP/1.1 a read deadline would end the contexts of all later requests of its
// TCP connection, and over HTTP/2 one for writing would end the poll.
func TestAPollOfSignalR2WaitsWithoutDeadlines(t *testing.T) {
	t.Parallel()
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{KeepAlive: 2 * time.Second, DisconnectTimeout: 6 * time.Second}})
	notes := &deadlines{path: "/signalr/poll"}
	server := httptest.NewServer(notes.around(srv.sys))
	t.Cleanup(server.Close)
	c := newClassicClient(t, server.URL+"/signalr", "longPolling").begin()
	c.poll()
	for _, times := range []int{1, 3} { // the second and third time, for a keep-alive
		eventually(t, func() bool {
			notes.mu.Lock()
			defer notes.mu.Unlock()
			r, w := notes.read, notes.write
			return len(r) > 0 && r[len(r)-1].IsZero() && len(w) >= times && w[len(w)-1].IsZero()
		}, "the poll waits without deadlines (%d)", times)
	}
	c.drop()
}

func TestAWriteThatPanicsEndsOneClientOfSignalR2(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv := newClassicServer(t, classicConfig{})
		other := dialClassic(t, srv, "webSockets")
		l := &hookedListener{}
		server := httptest.NewUnstartedServer(srv.sys)
		l.Listener, server.Listener = server.Listener, l
		server.Start()
		t.Cleanup(server.Close)
		c := newClassicClient(t, server.URL+"/signalr", "webSockets").begin()
		boom := func() { panic("in Write") }
		l.conns.Range(func(_, conn any) bool {
			conn.(*hookedConn).onWrite.Store(&boom)
			return true
		})
		require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "news", "x"))
		other.requireCall("news", "x")
		c.awaitEnd()
	})
}
