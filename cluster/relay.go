package cluster

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// What the node that a request has reached says of it to the one that answers. These headers are written and read by this file alone, on
// connections between nodes: a client's own are removed from what is relayed, and mean nothing to the node that it reaches.
const (
	userHeader   = "Troupe-User"   // its user, in Base64; missing: unknown
	remoteHeader = "Troupe-Remote" // the address of the client
	secureHeader = "Troupe-Secure" // it came over TLS
)

const (
	headerTime = 10 * time.Second
	idleTime   = time.Minute
	restTime   = 5 * time.Second
	sendTime   = time.Minute // how long a client may take nothing of an answer: its owner may have written all of it
	copyBytes  = 4 << 10     // for each direction, while there is something to copy or to wait for

	// A body that is not read, because its connection has no room, must not fill the window of the connection that the bodies of other clients
	// travel on, too: it has room for 63 of them. It has to be less than 4 MiB, and net/http sends 64 KiB of a body before it knows the window
	// of that. It also begins 100 requests before it knows mostStreams, and cannot repeat those with bodies that are refused then.
	bodyWindow       = 64 << 10
	connectionWindow = 4<<20 - 1
	mostStreams      = 100
)

type relayedKey struct{}

// relays answers requests for other nodes, and has other nodes answer requests: a reverse proxy over HTTP.
//
// Requests of one peer share connections of HTTP/2. A WebSocket has a connection of its own.
type relays struct {
	scheme   string
	server   *http.Server
	requests *http.Transport
	upgrades *http.Transport
	log      *slog.Logger
	sendTime time.Duration
	closing  context.Context // ends what is relayed
	close    context.CancelFunc
}

// startRelays serves the requests that other nodes relay.
func startRelays(c *Config, s *secrets, l net.Listener, serve http.Handler) *relays {
	r := &relays{scheme: "http", log: c.Logger, sendTime: sendTime}
	r.closing, r.close = context.WithCancel(context.Background())
	pings := &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second}
	windows := *pings
	windows.MaxConcurrentStreams, windows.MaxReceiveBufferPerStream, windows.MaxReceiveBufferPerConnection = mostStreams, bodyWindow, connectionWindow
	r.server = &http.Server{
		Handler: receiver{serve}, ReadHeaderTimeout: headerTime, IdleTimeout: 2 * idleTime, HTTP2: &windows, Protocols: new(http.Protocols),
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	r.requests = &http.Transport{DialContext: c.dial, TLSHandshakeTimeout: handshakeTime, IdleConnTimeout: idleTime, HTTP2: pings, Protocols: new(http.Protocols), DisableCompression: true}
	r.upgrades = &http.Transport{
		DialContext: c.dial, TLSHandshakeTimeout: handshakeTime, IdleConnTimeout: idleTime, Protocols: new(http.Protocols), DisableCompression: true,
		ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10, // they are kept as long as the WebSocket
	}
	r.upgrades.Protocols.SetHTTP1(true)
	r.server.Protocols.SetHTTP1(true)
	if s == nil {
		r.server.Protocols.SetUnencryptedHTTP2(true)
		r.requests.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = r.server.Serve(l) }()
		return r
	}
	r.scheme = "https"
	r.server.Protocols.SetHTTP2(true)
	r.requests.Protocols.SetHTTP2(true)
	r.server.TLSConfig, r.requests.TLSClientConfig, r.upgrades.TLSClientConfig = s.tls.Clone(), s.tls.Clone(), s.tls.Clone()
	go func() { _ = r.server.ServeTLS(l, "", "") }()
	return r
}

// receiver gives relayed requests to a handler as if their clients had reached this node.
type receiver struct{ http.Handler }

func (h receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithValue(r.Context(), relayedKey{}, true)
	if encoded, ok := r.Header[userHeader]; ok {
		user, err := base64.StdEncoding.DecodeString(encoded[0])
		if err != nil {
			http.Error(w, "the user cannot be decoded", http.StatusBadRequest)
			return
		}
		ctx = backplane.WithUser(ctx, string(user))
	}
	secure := r.TLS != nil && r.Header.Get(secureHeader) != ""
	r = r.WithContext(ctx)
	r.RemoteAddr = r.Header.Get(remoteHeader)
	r.TLS = nil // the certificate is that of a node
	if secure {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: r.Host}
	}
	removeOwn(r.Header)
	h.Handler.ServeHTTP(w, r)
}

func removeOwn(h http.Header) {
	h.Del(userHeader)
	h.Del(remoteHeader)
	h.Del(secureHeader)
}

// relay has a peer answer a request. It returns an error only if nothing has been written. If the answer breaks off, it panics with
// [http.ErrAbortHandler], as a handler does that cannot tell its client otherwise.
func (r *relays) relay(p *peer, w http.ResponseWriter, in *http.Request) error {
	if in.Context().Value(relayedKey{}) != nil {
		return errRelayed
	}
	ctx, cancel := context.WithCancelCause(in.Context())
	defer cancel(nil)
	defer context.AfterFunc(r.closing, func() { cancel(errStopped) })()
	control := http.NewResponseController(w) // a poll and a WebSocket take longer than the server's timeouts allow
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	if isUpgrade(in) {
		return r.upgrade(ctx, p, w, in)
	}
	defer func() { // net/http reads what is left of a body, and writes what is left of the answer, but not for ever
		_ = control.SetReadDeadline(time.Now().Add(restTime))
		_ = control.SetWriteDeadline(time.Now().Add(r.sendTime))
	}()
	var failed error
	proxy := httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := pr.In.Header[name]; ok {
					pr.Out.Header[name] = values
				}
			}
			pr.Out.Header.Del("Connection") // with Upgrade
			pr.Out.Header.Del("Upgrade")
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery
			r.address(pr.Out, in, p)
		},
		Transport: r.requests, FlushInterval: -1, BufferPool: copyBuffers, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(answer *http.Response) error {
			setAll(w.Header(), answer.Header)
			clear(answer.Header) // they would be added
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
	}
	proxy.ServeHTTP(&answerWriter{w, control, r.sendTime}, in.WithContext(ctx))
	return wrapped(ctx, p, failed)
}

// answerWriter writes an answer, and gives up a client that takes nothing of it for a time.
type answerWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	time    time.Duration
}

// Write is part of http.ResponseWriter.
func (w *answerWriter) Write(b []byte) (int, error) {
	defer w.limit()()
	return w.ResponseWriter.Write(b)
}

// FlushError is what http.ResponseController calls.
func (w *answerWriter) FlushError() error {
	defer w.limit()()
	return w.control.Flush()
}

// limit begins the time, and returns what ends it: over HTTP/2 it would end an answer that waits.
func (w *answerWriter) limit() (end func()) {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.time))
	return func() { _ = w.control.SetWriteDeadline(time.Time{}) }
}

// wrapped says who could not be reached.
func wrapped(ctx context.Context, p *peer, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cluster: relaying to node %s at %s: %w", p.id, p.relay, orCause(ctx, err))
}

func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// address makes out, which is a copy of in, a request to a peer.
func (r *relays) address(out, in *http.Request, p *peer) {
	out.URL.Scheme, out.URL.Host = r.scheme, p.relay
	out.Host = in.Host
	removeOwn(out.Header)
	out.Header.Set(remoteHeader, in.RemoteAddr)
	if user, ok := backplane.User(in.Context()); ok {
		out.Header.Set(userHeader, base64.StdEncoding.EncodeToString([]byte(user)))
	}
	if in.TLS != nil {
		out.Header.Set(secureHeader, "1")
	}
}

// stop ends when all requests that other nodes relay have been answered, at the latest when ctx ends. Upgraded ones are not waited for.
func (r *relays) stop(ctx context.Context) error {
	err := r.server.Shutdown(ctx)
	r.shut()
	return err
}

func (r *relays) shut() {
	r.close()
	_ = r.server.Close()
	r.requests.CloseIdleConnections()
	r.upgrades.CloseIdleConnections()
}

// isUpgrade reports whether a request asks for a WebSocket. Some clients ask for other protocols with any request, and take an answer as well.
func isUpgrade(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.Method != http.MethodGet || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return false
	}
	for _, line := range r.Header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// copyBuffers are the buffers with which answers are copied.
var copyBuffers = new(bufferPool)

type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte {
	if one, ok := b.pool.Get().(*[copyBytes]byte); ok {
		return one[:]
	}
	return make([]byte, copyBytes)
}

func (b *bufferPool) Put(one []byte) { b.pool.Put((*[copyBytes]byte)(one)) }
