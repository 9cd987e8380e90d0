package hubsys_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

const (
	linkBuffer  = 32 << 10              // of each socket between server and client
	linkSegment = 1400                  // segments of 64 KiB, as on the loopback, would not fit into such buffers
	linkSlack   = 50 * time.Millisecond // a link that is late by at most this catches up
)

// throttledLink is a TCP proxy that throttles what the server sends, for all its connections together.
type throttledLink struct {
	client *http.Client // dials through the link

	mu       sync.Mutex
	rate     float64   // bytes per second; negative: not throttled
	nextFree time.Time // when all bytes so far will have passed
	changed  chan struct{}
	done     chan struct{}
}

// newThrottledLink starts a proxy to the server of a URL, with a rate in bytes per second.
func newThrottledLink(t testing.TB, address string, rate int) *throttledLink {
	t.Helper()
	l := &throttledLink{rate: float64(rate), changed: make(chan struct{}), done: make(chan struct{})}
	server := hostOf(t, address)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.proxy(near.(*net.TCPConn), server) })
		}
	})
	t.Cleanup(func() {
		close(l.done)
		listener.Close()
		all.Wait()
	})
	dialer := &net.Dialer{Control: setSmallBuffers}
	l.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, listener.Addr().String())
	}}}
	return l
}

// hostOf returns host and port of a URL.
func hostOf(t testing.TB, address string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	require.NoError(t, err)
	return r.URL.Host
}

// setSmallBuffers gives a socket small buffers and segments before it connects.
func setSmallBuffers(_, _ string, c syscall.RawConn) (err error) {
	return errors.Join(c.Control(func(fd uintptr) {
		err = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, linkSegment),
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, linkBuffer),
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, linkBuffer))
	}), err)
}

// proxy connects a client with the server until one of them disconnects or the link is closed.
func (l *throttledLink) proxy(near *net.TCPConn, server string) {
	defer near.Close()
	_ = near.SetWriteBuffer(linkBuffer)
	dialer := &net.Dialer{Control: setSmallBuffers, Timeout: testTimeout}
	far, err := dialer.Dial("tcp", server)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	over := make(chan struct{}, 2)
	both.Go(func() { _, _ = io.Copy(far, readerOnly{near}); over <- struct{}{} })
	both.Go(func() { l.copyThrottled(near, far); over <- struct{}{} })
	select {
	case <-over:
	case <-l.done:
	}
	near.Close()
	far.Close()
	both.Wait()
}

// readerOnly prevents io.Copy from using splice.
type readerOnly struct{ io.Reader }

// copyThrottled copies what the server writes, at the rate of the link.
func (l *throttledLink) copyThrottled(near io.Writer, far io.Reader) {
	b := make([]byte, linkBuffer)
	for {
		n, err := far.Read(b[:l.chunk()])
		if n > 0 {
			if !l.waitFor(n) {
				return
			}
			if _, err := near.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// chunk returns how many bytes of one connection are copied at once: those of ten milliseconds, but few segments, so that connections
// share a link evenly.
func (l *throttledLink) chunk() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate < 0 {
		return linkBuffer
	}
	return max(256, min(3*linkSegment, int(l.rate/100)))
}

// waitFor waits until n bytes may pass. It returns false when the link is closed. Connections are served in the order of their calls.
func (l *throttledLink) waitFor(n int) bool {
	l.mu.Lock()
	for {
		rate, changed := l.rate, l.changed
		if rate < 0 {
			l.mu.Unlock()
			return true
		}
		var passed <-chan time.Time
		if rate > 0 {
			if late := time.Now().Add(-linkSlack); l.nextFree.Before(late) {
				l.nextFree = late
			}
			l.nextFree = l.nextFree.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			wait := time.Until(l.nextFree)
			if wait <= 0 {
				l.mu.Unlock()
				return true
			}
			timer := time.NewTimer(wait)
			defer timer.Stop()
			passed = timer.C
		}
		l.mu.Unlock()
		select {
		case <-passed:
			return true
		case <-l.done:
			return false
		case <-changed: // continue at the new rate
		}
		l.mu.Lock()
	}
}

// setRate changes the rate, also for bytes that are waiting already.
func (l *throttledLink) setRate(rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.nextFree = float64(rate), time.Time{}
	close(l.changed)
	l.changed = make(chan struct{})
}

// useLinkBuffers gives the server's connections the buffer sizes of a throttledLink.
func useLinkBuffers(s *httptest.Server) { s.Listener = linkBufferListener{s.Listener} }

type linkBufferListener struct{ net.Listener }

func (l linkBufferListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(linkBuffer)
	}
	return conn, err
}

// numberedBroadcast sends broadcasts with a number, the time of the Send, and a payload.
type numberedBroadcast struct {
	payload string
	start   time.Time
	tail    []byte
}

func newNumberedBroadcast(size int) *numberedBroadcast {
	n := &numberedBroadcast{payload: strings.Repeat("x", size), start: time.Now()}
	n.tail = []byte(`,"` + n.payload + `"]}` + separator)
	return n
}

// send sends number i to all clients, and returns the time that Send took.
func (n *numberedBroadcast) send(t testing.TB, srv *testServer, i int) time.Duration {
	t.Helper()
	start := time.Now()
	require.NoError(t, srv.hub.Clients().All().Send(context.Background(), "n", i, start.Sub(n.start), n.payload))
	return time.Since(start)
}

// receive reads the numbers from first to last-1, in order and nothing else, and returns the latency of each. It may be called from any
// goroutine.
func (n *numberedBroadcast) receive(c *testClient, first, last int) (latencies []time.Duration, err error) {
	if c.unread != "" || len(c.skipped) > 0 {
		return nil, fmt.Errorf("before the first: %q %v", c.unread, c.skipped)
	}
	latencies = make([]time.Duration, 0, last-first)
	r := bufio.NewReaderSize(nil, len(n.tail)+200)
	for len(latencies) < last-first {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		latencies, err = n.receiveMessage(ctx, c.ws, r, first, latencies)
		cancel()
		if err != nil {
			return latencies, err
		}
	}
	return latencies, nil
}

// receivers are clients that read numbered broadcasts.
type receivers struct {
	reading   sync.WaitGroup
	latencies [][]time.Duration // of each
	errs      []error
}

// dialReceivers connects clients that read the numbers from 0 to last-1. If over is not nil, it returns the link of each. The name of a
// client is its number.
func (n *numberedBroadcast) dialReceivers(t testing.TB, srv *testServer, clients, last int, over func() *throttledLink) *receivers {
	t.Helper()
	a := &receivers{latencies: make([][]time.Duration, clients), errs: make([]error, clients)}
	cs := make([]*testClient, clients)
	for i := range cs {
		var d dialOptions
		if over != nil {
			d.client = over().client
		}
		cs[i] = dialWith(t, fmt.Sprint(srv.url, "?name=", i), d)
	}
	for i, c := range cs {
		a.reading.Go(func() { a.latencies[i], a.errs[i] = n.receive(c, 0, last) })
	}
	return a
}

// requireAll requires that all clients receive all numbers.
func (a *receivers) requireAll(t testing.TB) {
	t.Helper()
	a.reading.Wait()
	for i, err := range a.errs {
		require.NoError(t, err, "client %d, after %d messages", i, len(a.latencies[i]))
	}
}

var ping = []byte(`{"type":6}` + separator)

// receiveMessage reads a WebSocket message, which consists of whole records.
func (n *numberedBroadcast) receiveMessage(ctx context.Context, ws *websocket.Conn, r *bufio.Reader, first int, latencies []time.Duration) ([]time.Duration, error) {
	_, message, err := ws.Reader(ctx)
	if err != nil {
		return latencies, err
	}
	r.Reset(message)
	for {
		b, err := r.ReadSlice(separator[0])
		if err == io.EOF && len(b) == 0 {
			return latencies, nil
		}
		if err != nil {
			return latencies, err
		}
		if bytes.Equal(b, ping) {
			continue
		}
		var sent int64
		head := `{"type":1,"target":"n","arguments":[` + strconv.Itoa(first+len(latencies)) + `,`
		rest, ok := bytes.CutPrefix(b, []byte(head))
		digits, isTail := bytes.CutSuffix(rest, n.tail)
		if ok = ok && isTail; ok {
			sent, err = strconv.ParseInt(string(digits), 10, 64)
		}
		if !ok || err != nil {
			return latencies, fmt.Errorf("number %d is %.100q", first+len(latencies), b)
		}
		latencies = append(latencies, time.Since(n.start)-time.Duration(sent))
	}
}

// percentile sorts the times, and returns the one that a share of them does not exceed.
func percentile(times []time.Duration, share float64) time.Duration {
	slices.Sort(times)
	return times[min(len(times)-1, int(share*float64(len(times))))]
}

func sum(times []time.Duration) (all time.Duration) {
	for _, d := range times {
		all += d
	}
	return all
}

// disconnectRecorder records why clients were disconnected, by the names in their queries.
type disconnectRecorder struct {
	mu     sync.Mutex
	causes map[string]error
	names  chan string
}

func newDisconnectRecorder(clients int) *disconnectRecorder {
	return &disconnectRecorder{causes: map[string]error{}, names: make(chan string, clients)}
}

// disconnected is a testConfig.onDisconnected.
func (l *disconnectRecorder) disconnected(_ context.Context, h *testHub, cause error) error {
	name := h.Call().Request().Query("name")
	l.mu.Lock()
	l.causes[name] = cause
	l.mu.Unlock()
	l.names <- name
	return nil
}

// allCauses returns the causes so far, by name.
func (l *disconnectRecorder) allCauses() map[string]error {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string]error{}
	for name, cause := range l.causes {
		all[name] = cause
	}
	return all
}
