package hubsys_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
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

// ---- what is measured

const mib = 1 << 20

// heap returns the number of bytes in use.
func heap() int {
	runtime.GC()
	runtime.GC() // pools release their contents with the second garbage collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// most looks at the heap until neither it nor what goes on beside it has moved for many looks, and gives the most that was seen.
func most(moved func() int64) (largest int) {
	const looks, pause, noise = 15, 5 * time.Millisecond, 256 << 10
	last := int64(-1)
	for still := 0; still < looks; still++ {
		time.Sleep(pause)
		now := heap()
		if now > largest+noise || moved() != last {
			still, last = 0, moved()
		}
		largest = max(largest, now)
	}
	return largest
}

// fastest is the shortest of several runs.
func fastest(runs int, run func() time.Duration) time.Duration {
	shortest := run()
	for range runs - 1 {
		shortest = min(shortest, run())
	}
	return shortest
}

// eventually waits until something holds.
func eventually(t testing.TB, holds func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, holds, within, 10*time.Millisecond, append([]any{what}, args...)...)
}

// settles waits until the heap is no more than a number of bytes larger than it was.
func settles(t testing.TB, before, limit int, what string, args ...any) {
	t.Helper()
	grown := heap() - before
	for start := time.Now(); grown > limit && time.Since(start) < within; grown = heap() - before {
		runtime.Gosched()
	}
	require.LessOrEqual(t, grown, limit, append([]any{"bytes more: " + what}, args...)...)
}

// ---- the server

// gate is a handler in front of a System that knows which requests are inside, and can give a request another address.
type gate struct {
	hubs            http.Handler
	inside, entered atomic.Int64
}

// addressHeader names the address that a request seems to come from.
const addressHeader = "X-Test-Address"

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.entered.Add(1)
	g.inside.Add(1)
	defer g.inside.Add(-1)
	if address := r.Header.Get(addressHeader); address != "" {
		r.RemoteAddr = address
	}
	g.hubs.ServeHTTP(w, r)
}

// gated puts a gate in front of a world's System.
func gated(g *gate) func(*httptest.Server) {
	return func(s *httptest.Server) { g.hubs, s.Config.Handler = s.Config.Handler, g }
}

// ---- requests without a network

// ask makes a request of a handler, and gives the answer.
func ask(h http.Handler, method, target, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	if address := header.Get(addressHeader); address != "" {
		r.RemoteAddr = address
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// tokenOf is the token that a negotiation has brought.
func tokenOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code)
	var n struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	return n.ConnectionToken
}

// member opens a connection that polls, without a socket, and gives its id. It never polls again.
func member(t testing.TB, h http.Handler, path string) (id string) {
	t.Helper()
	w := ask(h, http.MethodPost, path+"/negotiate?negotiateVersion=1", "", nil)
	var n struct{ ConnectionID string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	query := path + "?id=" + url.QueryEscape(tokenOf(t, w))
	require.Equal(t, http.StatusOK, ask(h, http.MethodGet, query, "", nil).Code)
	require.Equal(t, http.StatusOK, ask(h, http.MethodPost, query, greeting+separator, nil).Code)
	return n.ConnectionID
}

// ---- raw clients

const (
	textFrame   = 1
	binaryFrame = 2
	pingFrame   = 9
	pongFrame   = 10
)

// raw is a TCP connection to a server.
type raw struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	path string
	sent atomic.Int64
}

func newRaw(t testing.TB, conn net.Conn, path string) *raw {
	return &raw{t: t, conn: conn, r: bufio.NewReader(conn), path: path}
}

// connect opens a TCP connection to the server of an address.
func connect(t testing.TB, address string) *raw {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	conn, err := net.DialTimeout("tcp", u.Host, within)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return newRaw(t, conn, u.RequestURI())
}

// write writes in pieces, so that it can be seen to move.
func (p *raw) write(b string) error {
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

func (p *raw) mustWrite(b string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetWriteDeadline(time.Now().Add(within)))
	require.NoError(p.t, p.write(b))
	require.NoError(p.t, p.conn.SetWriteDeadline(time.Time{}))
}

// request is the head of a request. The lines of header end with CRLF.
func (p *raw) request(method, query, header string) string {
	return method + " " + p.path + query + " HTTP/1.1\r\nHost: host\r\n" + header + "\r\n"
}

// response reads the head of an answer.
func (p *raw) response() *http.Response {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(within)))
	response, err := http.ReadResponse(p.r, nil)
	require.NoError(p.t, err)
	require.NoError(p.t, p.conn.SetReadDeadline(time.Time{}))
	return response
}

const upgradeHeader = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// upgrade asks for a WebSocket, and gives the status.
func (p *raw) upgrade(query, header string) int {
	p.t.Helper()
	p.mustWrite(p.request(http.MethodGet, query, upgradeHeader+header))
	return p.response().StatusCode
}

// socket opens a connection over a WebSocket, handshake included.
func socket(t testing.TB, address, protocol string) *raw {
	t.Helper()
	p := connect(t, address)
	require.Equal(t, http.StatusSwitchingProtocols, p.upgrade("", ""))
	p.mustWrite(masked(textFrame, `{"protocol":"`+protocol+`","version":1}`+separator))
	_, payload, err := p.read()
	require.NoError(t, err)
	require.Equal(t, "{}"+separator, payload)
	return p
}

// masked is a frame of a client, the only one of its message.
func masked(opcode byte, payload string) string { return fragment(opcode, true, payload) }

// fragment is a frame of a client. The key that masks it is zero.
func fragment(opcode byte, last bool, payload string) string {
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

// read reads a frame of the server's.
func (p *raw) read() (opcode byte, payload string, err error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
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

// answered reads until a record with a certain text comes.
func (p *raw) answered(text string) {
	p.t.Helper()
	for {
		_, payload, err := p.read()
		require.NoError(p.t, err, "before %s", text)
		if strings.Contains(payload, text) {
			return
		}
	}
}

// packed is a record of the MessagePack protocol.
func packed(body string) string {
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

// poller opens a connection that polls, handshake included, and gives its query.
func poller(t testing.TB, address, protocol string) (query string) {
	t.Helper()
	query = opening(t, address)
	status, _ := roundTrip(t, http.MethodGet, address+query, "", nil)
	require.Equal(t, http.StatusOK, status)
	status, _ = roundTrip(t, http.MethodPost, address+query, `{"protocol":"`+protocol+`","version":1}`+separator, nil)
	require.Equal(t, http.StatusOK, status)
	return query
}

// opening negotiates, and gives the query that names the connection.
func opening(t testing.TB, address string) (query string) {
	t.Helper()
	_, token := negotiate(t, address, nil)
	return "?id=" + url.QueryEscape(token)
}

// roundTrip makes a request with a body, and gives status and body of the answer.
func roundTrip(t testing.TB, method, address, body string, header http.Header) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
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

// ---- processes

const childVariable = "TROUPE_TEST_CHILD"

// apart runs a test in a process of its own, whose end it survives.
func apart(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(childVariable) == t.Name() {
		test(t)
		return
	}
	name, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 6*within)
	defer cancel()
	command := exec.CommandContext(ctx, name, "-test.run=^"+t.Name()+"$", "-test.count=1", fmt.Sprint("-test.timeout=", 5*within))
	command.Env = append(os.Environ(), childVariable+"="+t.Name())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("the process: %v\n%s", err, out[:min(len(out), 3000)])
	}
	require.True(t, bytes.Contains(out, []byte("PASS")), "%s", out)
}

// neighbours are clients that nothing may disturb.
type neighbours struct {
	w  *world
	cs []*client
}

func newNeighbours(w *world, n int) *neighbours {
	w.t.Helper()
	all := &neighbours{w: w}
	for range n {
		all.cs = append(all.cs, dial(w.t, w.url))
	}
	return all
}

// fine makes sure that they are there: they call, and are called.
func (n *neighbours) fine() {
	n.w.t.Helper()
	for _, c := range n.cs {
		c.aside = nil
		require.Equal(n.w.t, `"here"`, string(c.invoke("Echo", "here").Result))
	}
	require.NoError(n.w.t, n.w.hub.Clients().All().Send(n.w.t.Context(), "all", "here"))
	for _, c := range n.cs {
		for r := c.next(); r.raw != invocationText("all", "here"); {
			r = c.next()
		}
	}
}

// pinged waits until each of them has got a number of pings.
func (n *neighbours) pinged(times int) {
	n.w.t.Helper()
	var all sync.WaitGroup
	failures := make(chan error, len(n.cs))
	for _, c := range n.cs {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), within)
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
		require.NoError(n.w.t, err)
	}
}

// counter is a hub's method that counts its calls.
func counter(n *atomic.Int64) action {
	return func(context.Context, *lab, []json.RawMessage) (any, error) { n.Add(1); return nil, nil }
}
