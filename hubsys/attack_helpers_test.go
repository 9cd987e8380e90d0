package hubsys_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const mib = 1 << 20

// heapInUse returns the size of the heap when it does not shrink any more: what earlier tests have left behind may still be on its way out.
func heapInUse() int {
	last := math.MaxInt
	for {
		runtime.GC()
		runtime.GC() // pools release their contents with the second garbage collection
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		now := int(m.HeapAlloc)
		if now > last-64<<10 {
			return now
		}
		last = now
	}
}

// peakHeap samples the heap until neither its size nor the value of moved has changed for many samples, and returns the largest size.
func peakHeap(moved func() int64) (largest int) {
	const looks, pause, noise = 15, 5 * time.Millisecond, 256 << 10
	last := int64(-1)
	for still := 0; still < looks; still++ {
		time.Sleep(pause)
		now := heapInUse()
		if now > largest+noise || moved() != last {
			still, last = 0, moved()
		}
		largest = max(largest, now)
	}
	return largest
}

// fastest returns the shortest time of several runs.
func fastest(runs int, run func() time.Duration) time.Duration {
	shortest := run()
	for range runs - 1 {
		shortest = min(shortest, run())
	}
	return shortest
}

// eventually waits until a condition holds.
func eventually(t testing.TB, holds func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, holds, testTimeout, 10*time.Millisecond, append([]any{what}, args...)...)
}

// requireHeapSettles waits until the heap is at most limit bytes larger than before.
func requireHeapSettles(t testing.TB, before, limit int, what string, args ...any) {
	t.Helper()
	grown := heapInUse() - before
	for start := time.Now(); grown > limit && time.Since(start) < testTimeout; grown = heapInUse() - before {
		runtime.Gosched()
	}
	require.LessOrEqual(t, grown, limit, append([]any{"bytes more: " + what}, args...)...)
}

// requestCounter is a middleware that counts requests, and replaces the remote address of a request that has an addressHeader.
type requestCounter struct {
	next            http.Handler
	active, started atomic.Int64
}

// addressHeader sets the remote address of a request.
const addressHeader = "X-Test-Address"

func (g *requestCounter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.started.Add(1)
	g.active.Add(1)
	defer g.active.Add(-1)
	if address := r.Header.Get(addressHeader); address != "" {
		r.RemoteAddr = address
	}
	g.next.ServeHTTP(w, r)
}

// countRequests installs a requestCounter in a test server.
func countRequests(g *requestCounter) func(*httptest.Server) {
	return func(s *httptest.Server) { g.next, s.Config.Handler = s.Config.Handler, g }
}

// serveRequest passes a request to a handler without a network, and returns the response.
func serveRequest(h http.Handler, method, target, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	if address := header.Get(addressHeader); address != "" {
		r.RemoteAddr = address
	}
	suite.noteRequest(r.URL.RawQuery, r.Header)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// tokenOf returns the connection token of a negotiate response.
func tokenOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code)
	var n struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	suite.note(n.ConnectionToken)
	return n.ConnectionToken
}

// dialIdle opens a long polling connection without a network, and returns its ID. The client never polls again.
func dialIdle(t testing.TB, h http.Handler, path string) (id string) {
	t.Helper()
	w := serveRequest(h, http.MethodPost, path+"/negotiate?negotiateVersion=1", "", nil)
	var n struct{ ConnectionID string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	query := path + "?id=" + url.QueryEscape(tokenOf(t, w))
	require.Equal(t, http.StatusOK, serveRequest(h, http.MethodGet, query, "", nil).Code)
	require.Equal(t, http.StatusOK, serveRequest(h, http.MethodPost, query, handshakeJSON+separator, nil).Code)
	return n.ConnectionID
}

const (
	textFrame   = 1
	binaryFrame = 2
	pingFrame   = 9
	pongFrame   = 10
)

// rawConn is a client's connection on which a test writes HTTP requests and WebSocket frames itself.
type rawConn struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	path string
	sent atomic.Int64
}

func newRawConn(t testing.TB, conn net.Conn, path string) *rawConn {
	return &rawConn{t: t, conn: conn, r: bufio.NewReader(conn), path: path}
}

// dialTCP opens a TCP connection to the server of a URL.
func dialTCP(t testing.TB, address string) *rawConn {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	conn, err := net.DialTimeout("tcp", u.Host, testTimeout)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return newRawConn(t, conn, u.RequestURI())
}

// write writes in pieces, and counts the bytes in sent.
func (p *rawConn) write(b string) error {
	for len(b) > 0 {
		n, err := io.WriteString(p.conn, b[:min(len(b), 16<<10)])
		p.sent.Add(int64(n))
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (p *rawConn) mustWrite(b string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetWriteDeadline(time.Now().Add(testTimeout)))
	require.NoError(p.t, p.write(b))
	require.NoError(p.t, p.conn.SetWriteDeadline(time.Time{}))
}

// request returns the head of a request. The lines of header end with CRLF.
func (p *rawConn) request(method, query, header string) string {
	return method + " " + p.path + query + " HTTP/1.1\r\nHost: host\r\n" + header + "\r\n"
}

// response reads the head of a response.
func (p *rawConn) response() *http.Response {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(testTimeout)))
	response, err := http.ReadResponse(p.r, nil)
	require.NoError(p.t, err)
	require.NoError(p.t, p.conn.SetReadDeadline(time.Time{}))
	return response
}

const upgradeHeader = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// upgrade requests a WebSocket, and returns the status.
func (p *rawConn) upgrade(query, header string) int {
	p.t.Helper()
	p.mustWrite(p.request(http.MethodGet, query, upgradeHeader+header))
	return p.response().StatusCode
}

// dialRawSocket opens a connection over a WebSocket and completes its handshake.
func dialRawSocket(t testing.TB, address, protocol string) *rawConn {
	t.Helper()
	p := dialTCP(t, address)
	require.Equal(t, http.StatusSwitchingProtocols, p.upgrade("", ""))
	p.mustWrite(clientFrame(textFrame, `{"protocol":"`+protocol+`","version":1}`+separator))
	_, payload, err := p.read()
	require.NoError(t, err)
	require.Equal(t, "{}"+separator, payload)
	return p
}

// clientFrame returns a masked frame that is a whole message.
func clientFrame(opcode byte, payload string) string { return clientFragment(opcode, true, payload) }

// clientFragment returns a masked frame, with a masking key of zero.
func clientFragment(opcode byte, last bool, payload string) string {
	if last {
		opcode |= 0x80
	}
	var b []byte
	switch n := len(payload); {
	case n < 126:
		b = []byte{opcode, 0x80 | byte(n)}
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16([]byte{opcode, 0x80 | 126}, uint16(n))
	default:
		b = binary.BigEndian.AppendUint64([]byte{opcode, 0x80 | 127}, uint64(n))
	}
	return string(append(b, 0, 0, 0, 0)) + payload
}

// read reads a frame from the server.
func (p *rawConn) read() (opcode byte, payload string, err error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		return 0, "", err
	}
	var head [8]byte
	if _, err := io.ReadFull(p.r, head[:2]); err != nil {
		return 0, "", err
	}
	opcode = head[0] & 15
	n := uint64(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(p.r, head[:2])
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(p.r, head[:8])
		n = binary.BigEndian.Uint64(head[:])
	}
	if err != nil {
		return 0, "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(p.r, b)
	return opcode, string(b), err
}

// readUntil reads frames up to one that contains a text.
func (p *rawConn) readUntil(text string) {
	p.t.Helper()
	for {
		_, payload, err := p.read()
		require.NoError(p.t, err, "before %s", text)
		if strings.Contains(payload, text) {
			return
		}
	}
}

// msgpackRecord returns a message of the MessagePack protocol with its length prefix.
func msgpackRecord(body string) string {
	var size []byte
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			size = append(size, byte(n))
			break
		}
		size = append(size, byte(n)|0x80)
	}
	return string(size) + body
}

// startPolling opens a long polling connection, completes its handshake, and returns its query.
func startPolling(t testing.TB, address, protocol string) (query string) {
	t.Helper()
	query = negotiateQuery(t, address)
	status, _ := doRequest(t, http.MethodGet, address+query, "", nil)
	require.Equal(t, http.StatusOK, status)
	status, _ = doRequest(t, http.MethodPost, address+query, `{"protocol":"`+protocol+`","version":1}`+separator, nil)
	require.Equal(t, http.StatusOK, status)
	return query
}

// negotiateQuery negotiates, and returns the query that identifies the connection.
func negotiateQuery(t testing.TB, address string) (query string) {
	t.Helper()
	_, token := negotiate(t, address, nil)
	return "?id=" + url.QueryEscape(token)
}

// doRequest sends a request, and returns status and body of the response.
func doRequest(t testing.TB, method, address, body string, header http.Header) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	require.NoError(t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(b)
}

const childEnv = "TROUPE_TEST_CHILD"

// runInProcess runs a test in a child process, so that a crash fails only this test.
func runInProcess(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(childEnv) == t.Name() {
		test(t)
		return
	}
	name, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 6*testTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, name, "-test.run=^"+t.Name()+"$", "-test.count=1", fmt.Sprint("-test.timeout=", 5*testTimeout))
	command.Env = append(os.Environ(), childEnv+"="+t.Name())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("the process: %v\n%s", err, out[:min(len(out), 3000)])
	}
	require.True(t, bytes.Contains(out, []byte("PASS")), "%s", out)
}

// clientSet is a set of clients that must not be affected by what a test does to other connections.
type clientSet struct {
	srv     *testServer
	clients []*testClient
}

func newClientSet(srv *testServer, n int) *clientSet {
	srv.t.Helper()
	all := &clientSet{srv: srv}
	for range n {
		all.clients = append(all.clients, dial(srv.t, srv.url))
	}
	return all
}

// requireWorking requires that all clients can call the hub and receive messages.
func (n *clientSet) requireWorking() {
	n.srv.t.Helper()
	for _, c := range n.clients {
		c.skipped = nil
		require.Equal(n.srv.t, `"here"`, string(c.invoke("Echo", "here").Result))
	}
	require.NoError(n.srv.t, n.srv.hub.Clients().All().Send(n.srv.t.Context(), "all", "here"))
	for _, c := range n.clients {
		for r := c.next(); r.raw != serverInvocation("all", "here"); {
			r = c.next()
		}
	}
}

// awaitPings waits until each client has received a number of pings.
func (n *clientSet) awaitPings(times int) {
	n.srv.t.Helper()
	var all sync.WaitGroup
	failures := make(chan error, len(n.clients))
	for _, c := range n.clients {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			for pings := 0; pings < times; {
				_, b, err := c.ws.Read(ctx)
				if err != nil {
					failures <- fmt.Errorf("after %d pings: %w", pings, err)
					return
				}
				pings += strings.Count(string(b), `{"type":6}`)
			}
		})
	}
	all.Wait()
	close(failures)
	for err := range failures {
		require.NoError(n.srv.t, err)
	}
}

// countingAction returns an action that counts its calls.
func countingAction(n *atomic.Int64) hubAction {
	return func(context.Context, *testHub, []json.RawMessage) (any, error) { n.Add(1); return nil, nil }
}
