package transport

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// IsUpgrade reports whether a request asks for a WebSocket in a form that can be granted. A wrong key or version makes it an
// ordinary GET, as in the reference (docs/protocol.md, 2.1).
func IsUpgrade(r *http.Request) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")))
	return r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket") &&
		r.Header.Get("Sec-WebSocket-Version") == "13" && err == nil && len(key) == 16 && len(r.Header.Values("Sec-WebSocket-Key")) == 1
}

// CannotSetHeaders reports whether a request is of a kind whose headers browsers cannot set: a WebSocket or an event stream.
func CannotSetHeaders(r *http.Request) bool {
	return IsUpgrade(r) || r.Method == http.MethodGet && acceptsEvents(r)
}

func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// webSocket opens a connection over a WebSocket: one that was negotiated, or, without an id, one of its own (docs/protocol.md, 1.7).
func (e *Endpoint) webSocket(w http.ResponseWriter, r *http.Request) {
	given, reserved := e.named(r)
	if given && reserved == nil {
		w.Header()["Content-Type"] = nil // the reference sends none here
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(unknownConnection))
		return
	}
	if reserved != nil && e.Tokens.canBeResumed(reserved) {
		e.resume(w, r, reserved)
		return
	}
	if !e.checkOffered(w, WebSockets) || reserved != nil && !checkFree(w, e.Tokens.transportOf(reserved), WebSockets) {
		return
	}
	who, ok := e.admitWebSocket(w, r, reserved, false)
	if !ok {
		return
	}
	if !e.reserve(w, r, who) {
		return
	}
	opened, activated := false, false
	defer func() {
		if opened {
			return
		}
		e.Acceptor.Release(r, who)
		if activated {
			e.Tokens.release(reserved)
		}
	}()
	opening := Opening{Identity: who, Request: r, Transport: WebSockets}
	if reserved != nil {
		if has, ok := e.Tokens.activate(reserved, WebSockets); !ok {
			refuseTransport(w, has, WebSockets)
			return
		}
		activated = true
		opening.ID, opening.Resumable = reserved.id, reserved.resumable
	} else {
		opening.ID = e.Tokens.NewID()
	}
	socket := openWebSocket(w, r, e.Subprotocol, e.Log, &e.refusals)
	if socket == nil {
		return
	}
	session, err := e.Acceptor.AcceptSocket(opening, socket)
	if err != nil { // shutting down since it was admitted
		if !socket.Blocks() {
			_, _ = socket.TryWrite(socket.LastFrame())
		}
		socket.Cut()
		return
	}
	opened = true
	socket.session = session
	e.Tokens.carry(reserved, socket)
	if q := e.Tokens.earlyOf(reserved); q != nil {
		q.feedEarly(session)
	}
	// Not on this goroutine, which holds the stack and the buffers of the HTTP server.
	go socket.serve(e.Tokens, reserved)
}

// admitWebSocket returns who opens a WebSocket. If it returns false, the request has been answered.
// One that resumes a connection is admitted while the server drains: the connection is there until it is asked to close.
func (e *Endpoint) admitWebSocket(w http.ResponseWriter, r *http.Request, reserved *reservation, resumes bool) (who Identity, ok bool) {
	if !e.Origins.Allows(r) {
		if e.Origins.cors == nil { // otherwise it has been logged already
			e.logOrigin(r)
		}
		plain(w, http.StatusForbidden, fmt.Sprintf("The origin %q is not allowed to connect: it is not that of the Host of this request, %q, nor listed in AllowedOrigins. If the page is this server's own, a proxy in front of it has to pass the Host header on.", logs.Clip(r.Header.Get("Origin")), logs.Clip(r.Host)))
		return who, false
	}
	admit := e.admit
	if resumes {
		admit = e.identify
	}
	if who, ok = admit(w, r); !ok || reserved != nil && !e.checkOwner(w, r, reserved, who) {
		return who, false
	}
	return who, true
}

// openWebSocket opens a WebSocket. If it returns nil, the request has been answered. It may panic, as net.Conns and http.ResponseWriters of the
// application may.
func openWebSocket(w http.ResponseWriter, r *http.Request, subprotocol func([]string) string, log *slog.Logger, refusals *logs.Limiter) *WebSocket {
	if !supports[http.Hijacker](w) {
		const what = "a WebSocket cannot be opened: the http.ResponseWriter is no http.Hijacker, and does not unwrap to one"
		refusals.Log(r.Context(), log, slog.LevelError, what, what, "path", logs.Clip(r.URL.Path)) // anybody can make requests
		plain(w, http.StatusInternalServerError, "")
		return nil
	}
	socket, opened := &WebSocket{}, false
	defer func() {
		if !opened && socket.conn != nil {
			closeQuietly(socket.conn)
		}
	}()
	if err := socket.upgrade(w, r, subprotocol); err != nil {
		log.Debug("a WebSocket could not be opened", "remote", r.RemoteAddr, "error", err)
		return nil
	}
	opened = true
	return socket
}

// WebSocket is the socket of one connection. coder/websocket does the upgrade; frames are read by frameReader, and the session writes data frames,
// which have their header already. Of control frames there are pongs, which the session writes when its socket is free, and one close frame,
// which ends all output.
type WebSocket struct {
	conn    net.Conn
	raw     *rawConn // nil: the connection can only block
	source  source
	session link.SocketSession
	early   []byte // what net/http has read already

	closeCode atomic.Uint32
	cut       atomic.Bool

	mu          sync.Mutex
	finished    bool // nothing more is written
	readerEnded bool

	detached chan struct{} // of a resumable connection: closed when the reader has ended
	replaced chan struct{} // closed when another socket carries the connection
}

// supports reports whether an http.ResponseWriter, or one that it wraps, has the methods of T.
func supports[T any](w http.ResponseWriter) bool {
	for {
		if _, ok := w.(T); ok {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

// upgrade answers the request, and takes the connection away from net/http.
func (s *WebSocket) upgrade(w http.ResponseWriter, r *http.Request, subprotocol func([]string) string) error {
	var chosen []string
	if requested := requestedSubprotocols(r); subprotocol != nil && len(requested) > 0 {
		chosen = []string{subprotocol(requested)}
	}
	ws, err := websocket.Accept(&hijacker{ResponseWriter: w, socket: s}, r, &websocket.AcceptOptions{
		Subprotocols:       chosen,
		InsecureSkipVerify: true, // Origins has checked
	})
	if err == nil {
		_ = ws.CloseNow() // closes no more than its own buffers, see hijackedConn
	}
	return err
}

// requestedSubprotocols returns the subprotocols that a client offers, in its order.
func requestedSubprotocols(r *http.Request) []string {
	var all []string
	for _, value := range r.Header.Values("Sec-WebSocket-Protocol") {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

// hijacker passes coder/websocket a connection of this package instead of the one that it would take.
type hijacker struct {
	http.ResponseWriter
	socket *WebSocket
}

// smallBuffer is the minimum of bufio. Nothing is read or written through it.
const smallBuffer = 16

// Hijack is part of http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	s := h.socket
	s.conn, s.raw = conn, newRawConn(conn)
	if s.raw != nil {
		s.source = s.raw
	} else {
		s.source = &blockingSource{conn: conn}
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n)
		s.early = append(s.early, early...)
	}
	inner := hijackedConn{conn}
	return inner, bufio.NewReadWriter(bufio.NewReaderSize(inner, smallBuffer), bufio.NewWriterSize(inner, smallBuffer)), nil
}

// serve reads until the connection ends, and frees its token then.
func (s *WebSocket) serve(tokens *Tokens, reserved *reservation) {
	gone := false
	defer func() {
		if !isClosed(s.replaced) {
			tokens.release(reserved)
		}
		if gone {
			s.close(closeQuietly) // it may block
		}
	}()
	err := s.readSafely(s.session, nil)
	switch {
	case err == errClosedByClient: // it is answered behind what is being written, with 1000, whatever its code was (docs/protocol.md, 2.3)
		err = checkWhole(s.session)
	case s.closeCode.Load() == 0: // the TCP connection has ended
		if s.session.Lost() {
			s.awaitSuccessor()
			return
		}
		gone = true
		err = checkWhole(s.session)
	}
	s.session.End(err)
	s.mu.Lock()
	s.readerEnded = true
	finished := s.finished
	s.mu.Unlock()
	if finished {
		closeQuietly(s.conn)
	}
}

// readSafely reads until the client ends the connection, and survives a panic, because the net.Conn may be of a type of the application.
// ended, unless it is nil, is called at the end of each message.
func (s *WebSocket) readSafely(sink frameSink, ended func(binary bool)) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			s.closeCode.Store(0)
			err = fmt.Errorf("hubsys: reading a connection panicked: %v", reason)
		}
	}()
	frames := frameReader{socket: s, sink: sink, unread: s.early, ended: ended}
	s.early = nil
	return frames.run()
}

// hijackedConn is the net.Conn that coder/websocket upgrades, and closes then.
type hijackedConn struct{ net.Conn }

// Close is part of net.Conn. The connection goes on, without coder/websocket.
func (hijackedConn) Close() error { return nil }

var _ link.Socket = (*WebSocket)(nil)

// Blocks is part of link.Socket, as are the methods that follow.
func (s *WebSocket) Blocks() bool { return s.raw == nil }

// TryWrite passes to the kernel as much of b as it takes without blocking.
func (s *WebSocket) TryWrite(b []byte) (int, error) { return s.raw.send(b, false) }

// Write waits until the kernel has taken some of b.
func (s *WebSocket) Write(b []byte) (int, error) {
	if s.raw != nil {
		return s.raw.send(b, true)
	}
	return s.conn.Write(b[:min(len(b), writeChunk)])
}

// LastFrame returns the close frame.
func (s *WebSocket) LastFrame() []byte {
	code := s.closeCode.Load()
	if code == 0 {
		code = uint32(websocket.StatusNormalClosure)
	}
	return wsframe.CloseFrame(uint16(code))
}

// Finished says that nothing more is written. The connection is closed when its reader ends: when the client has answered the close frame, or when
// nothing more can be read. If that does not happen, the session cuts it.
func (s *WebSocket) Finished() {
	s.mu.Lock()
	s.finished = true
	ended := s.readerEnded
	s.mu.Unlock()
	if ended {
		go closeQuietly(s.conn)
	}
}

// Cut closes the descriptor on a goroutine of its own, because Close may block with SO_LINGER, or if the net.Conn is one of the application.
func (s *WebSocket) Cut() { s.close(func(conn net.Conn) { go closeQuietly(conn) }) }

// close has the descriptor closed, unless that is done.
func (s *WebSocket) close(by func(net.Conn)) {
	if s.cut.Swap(true) {
		return
	}
	conn := s.conn
	if c, ok := conn.(*tls.Conn); ok { // whose Close would write
		conn = c.NetConn()
	}
	by(conn)
}

// closeQuietly closes a connection, and survives a panic, because its type may be one of the application.
func closeQuietly(conn net.Conn) {
	defer func() { _ = recover() }()
	_ = conn.Close()
}
