package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// partTime is how long one end of a relayed WebSocket may take to end when the other end has.
const partTime = 5 * time.Second

// upgrade relays a request that asks for another protocol, and then what both ends send.
func (r *relays) upgrade(ctx context.Context, p *peer, w http.ResponseWriter, in *http.Request) error {
	out := in.Clone(ctx)
	out.RequestURI, out.Body, out.ContentLength, out.Close = "", nil, 0, false
	upgrade := in.Header.Get("Upgrade")
	removeHops(out.Header)
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", upgrade)
	r.address(out, in, p)
	answer, err := r.upgrades.RoundTrip(out)
	if err != nil {
		return wrapped(ctx, p, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		removeHops(answer.Header)
		setAll(w.Header(), answer.Header)
		w.WriteHeader(answer.StatusCode)
		copyAll(w, answer.Body)
		return nil
	}
	owner, ok := answer.Body.(conduit)
	if !ok {
		return wrapped(ctx, p, errors.New("the connection cannot be written to"))
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return wrapped(ctx, p, err)
	}
	defer func() { _ = client.Close() }()
	setAll(w.Header(), answer.Header)
	head := &http.Response{StatusCode: answer.StatusCode, ProtoMajor: 1, ProtoMinor: 1, Header: w.Header()}
	if head.Write(buffered) == nil && buffered.Flush() == nil {
		early, _ := buffered.Peek(buffered.Reader.Buffered())
		join(ctx, patientConn{client, r.sendTime}, early, owner)
	}
	return nil
}

// patientConn is the connection of a client that is given up when it takes nothing for a time. Meanwhile nobody would see that its owner has gone.
type patientConn struct {
	net.Conn
	time time.Duration
}

// Write is part of net.Conn.
func (c patientConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.time))
	return c.Conn.Write(b)
}

// CloseWrite ends what is written, where that is possible.
func (c patientConn) CloseWrite() error {
	if conn, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return errors.ErrUnsupported
}

// conduit is a connection to another process.
type conduit interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// join copies between a client and the owner of its connection until both have ended.
//
// When one has ended, the other one is told and still read: to close a connection with unread data would destroy what has been sent on it last.
func join(ctx context.Context, client net.Conn, early []byte, owner conduit) {
	closeBoth := sync.OnceFunc(func() {
		_ = client.Close()
		_ = owner.Close()
	})
	defer closeBoth()
	defer context.AfterFunc(ctx, closeBoth)()
	ended := func(other any) {
		if c, ok := other.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
			closeBoth()
		}
		time.AfterFunc(partTime, closeBoth)
	}
	var there sync.WaitGroup
	there.Go(func() {
		if _, err := owner.Write(early); err == nil {
			copyAll(owner, client)
		}
		ended(owner)
		discard(client)
	})
	copyAll(client, owner)
	ended(client)
	discard(owner)
	there.Wait()
}

// copyAll copies with a small buffer, whatever the two ends could do by themselves.
func copyAll(to io.Writer, from io.Reader) {
	buffer := copyBuffers.Get()
	defer copyBuffers.Put(buffer)
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer)
}

func discard(from io.Reader) { copyAll(io.Discard, from) }

// setAll sets headers as the owner's handler would have set them here: they replace what a middleware has set before, but for two of which there can be
// several.
func setAll(to, from http.Header) {
	for name, values := range from {
		if name != "Set-Cookie" && name != "Vary" {
			to.Del(name)
		}
		to[name] = append(to[name], values...)
	}
}

// removeHops removes what concerns one connection alone.
func removeHops(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
}
