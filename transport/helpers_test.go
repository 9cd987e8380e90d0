package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// testTimeout limits every wait.
const testTimeout = 20 * time.Second

const (
	separator     = "\x1e"
	handshakeJSON = `{"protocol":"json","version":1}` + separator

	continuation = 0
	text         = 1
	binaryFrame  = 2
	closeOpcode  = 8
	ping         = 9
	pong         = 10
)

// echoHub is the hub of a socketServer.
type echoHub struct {
	hubsys.Hub
	disconnected chan<- error
}

func (h *echoHub) Echo(v any) any     { return v }
func (h *echoHub) Long(n int) string  { return strings.Repeat("x", n) }
func (h *echoHub) Abort()             { h.Call().Abort() }
func (h *echoHub) Count(s string) int { return len(s) }
func (h *echoHub) OnDisconnected(_ context.Context, cause error) error {
	h.disconnected <- cause
	return nil
}

// socketServer is a server with an echoHub at /echo.
type socketServer struct {
	t            testing.TB
	sys          *hubsys.System
	addr         string
	disconnected chan error // errors that OnDisconnected has received
}

func newSocketServer(t testing.TB, options hubsys.EndpointOptions, limits hubsys.HubOptions) *socketServer {
	t.Helper()
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	h := &socketServer{t: t, sys: sys, disconnected: make(chan error, 100)}
	hub, err := hubsys.Register(sys, func(context.Context) (*echoHub, error) { return &echoHub{disconnected: h.disconnected}, nil }, limits)
	require.NoError(t, err)
	require.NoError(t, hub.Map("/echo", options))
	server := httptest.NewUnstartedServer(sys)
	server.Listener = smallBufferListener{server.Listener}
	server.Start()
	h.addr = server.Listener.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := sys.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return h
}

// smallBufferListener gives the server's connections small send buffers.
type smallBufferListener struct{ net.Listener }

func (l smallBufferListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return conn, err
}

func (h *socketServer) requireDisconnected() error {
	h.t.Helper()
	select {
	case err := <-h.disconnected:
		return err
	case <-time.After(testTimeout):
		require.FailNow(h.t, "OnDisconnected has not run")
		return nil
	}
}

// rawConn is a client's connection on which a test writes and reads WebSocket frames itself.
type rawConn struct {
	t    testing.TB
	conn *net.TCPConn
	r    *bufio.Reader
}

// upgradeRequest returns a request for a WebSocket.
func upgradeRequest(path string, header http.Header) string {
	h := http.Header{"Host": {"host"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-WebSocket-Version": {"13"}, "Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	for name, values := range header {
		h[name] = values
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\n", path)
	for name, values := range h {
		for _, value := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	return b.String() + "\r\n"
}

// request sends raw bytes, and reads the head of the response.
func (h *socketServer) request(raw string) (*rawConn, *http.Response) {
	h.t.Helper()
	dialer := net.Dialer{Timeout: testTimeout, Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}}
	conn, err := dialer.Dial("tcp", h.addr)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { conn.Close() })
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(testTimeout)))
	p := &rawConn{t: h.t, conn: conn.(*net.TCPConn), r: bufio.NewReader(conn)}
	_, err = io.WriteString(conn, raw)
	require.NoError(h.t, err)
	response, err := http.ReadResponse(p.r, nil)
	require.NoError(h.t, err)
	return p, response
}

// open opens a WebSocket.
func (h *socketServer) open(path string) *rawConn {
	h.t.Helper()
	p, response := h.request(upgradeRequest(path, nil))
	require.Equal(h.t, http.StatusSwitchingProtocols, response.StatusCode)
	return p
}

// dial opens a connection and completes its handshake.
func (h *socketServer) dial() *rawConn {
	h.t.Helper()
	p := h.open("/echo")
	p.handshake()
	return p
}

func (p *rawConn) handshake() {
	p.t.Helper()
	p.write(text, true, handshakeJSON)
	require.Equal(p.t, "{}"+separator, p.text())
}

// clientFrame returns a masked frame.
func clientFrame(opcode byte, fin bool, payload string) []byte {
	first := opcode
	if fin {
		first |= 0x80
	}
	mask := [4]byte{0xa1, 0xb2, 0xc3, 0xd4}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

func (p *rawConn) write(opcode byte, fin bool, payload string) {
	p.t.Helper()
	p.writeRaw(clientFrame(opcode, fin, payload))
}

func (p *rawConn) writeRaw(b []byte) {
	p.t.Helper()
	_, err := p.conn.Write(b)
	require.NoError(p.t, err)
}

// read reads one frame, which servers neither mask nor fragment.
func (p *rawConn) read() (opcode byte, payload []byte) {
	p.t.Helper()
	opcode, payload, err := p.tryRead()
	require.NoError(p.t, err)
	return opcode, payload
}

func (p *rawConn) tryRead() (opcode byte, payload []byte, err error) {
	var head [10]byte
	if _, err := io.ReadFull(p.r, head[:2]); err != nil {
		return 0, nil, err
	}
	require.Equal(p.t, byte(0x80), head[0]&0xf0, "fin, and nothing reserved")
	require.Zero(p.t, head[1]&0x80, "masked")
	n := uint64(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(p.r, head[2:4])
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, err = io.ReadFull(p.r, head[2:10])
		n = binary.BigEndian.Uint64(head[2:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(p.r, payload)
	return head[0] & 0x0f, payload, err
}

// text reads a text frame.
func (p *rawConn) text() string {
	p.t.Helper()
	opcode, payload := p.read()
	require.EqualValues(p.t, text, opcode, "%q", payload)
	return string(payload)
}

// requireClose requires that the next frame is a close frame with this code and no reason.
func (p *rawConn) requireClose(code uint16) {
	p.t.Helper()
	opcode, payload := p.read()
	require.EqualValues(p.t, closeOpcode, opcode, "%q", payload)
	require.Equal(p.t, binary.BigEndian.AppendUint16(nil, code), payload)
}

// requireEOF requires that the server has closed the TCP connection.
func (p *rawConn) requireEOF() {
	p.t.Helper()
	b, err := io.ReadAll(p.r)
	require.NoError(p.t, err)
	require.Empty(p.t, b)
}

// closeFrame returns the payload of a close frame.
func closeFrame(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

func invocationJSON(id, method string, args ...any) string {
	if args == nil {
		args = []any{}
	}
	m := map[string]any{"type": 1, "target": method, "arguments": args}
	if id != "" {
		m["invocationId"] = id
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n") + separator
}

func completionJSON(id string, value string) string {
	return `{"type":3,"invocationId":"` + id + `","result":` + value + `}` + separator
}
