package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy carries TCP connections between the clients and the server, and can disturb those of one client. The first four bytes of a connection,
// which it keeps for itself, are the number of the client.
type proxy struct {
	listener net.Listener
	server   string
	lines    []*line
	all      sync.WaitGroup
}

// line is everything between one client and the server.
type line struct {
	mu      sync.Mutex
	pipes   map[*pipe]bool
	shapes  [2]shape
	next    [2]int64      // of the next connection: the bytes after which it is cut; 0: it is not
	changed chan struct{} // closed when the shapes are cleared
}

// direction is the direction in which bytes go.
type direction int

const (
	toServer direction = iota
	toClient
)

// shape is how bytes of one direction are disturbed.
type shape struct {
	stalled   time.Time // until then, nothing passes
	delay     time.Duration
	delayed   time.Time // until then, each piece waits for delay
	rate      int       // in bytes per second
	throttled time.Time
}

// pipe is one TCP connection of a client, and the one to the server that it continues in.
type pipe struct {
	near, far *net.TCPConn
	done      chan struct{}
	once      sync.Once
	left      [2]atomic.Int64 // bytes until it is cut; 0: it is not
	shut      [2]atomic.Bool  // half-closed: what still comes is dropped
}

const (
	pieceSize   = 4 << 10
	socketRoom  = 32 << 10 // for the buffers of each socket, so that a client that does not read is soon noticed
	dialTimeout = time.Minute
)

func newProxy(server string, clients int) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, server: server}
	for range clients {
		p.lines = append(p.lines, &line{pipes: map[*pipe]bool{}, changed: make(chan struct{})})
	}
	p.all.Go(p.accept)
	return p, nil
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.all.Go(func() { p.serve(conn.(*net.TCPConn)) })
		}
	}
}

// dial opens a connection of a client to the server.
func (p *proxy) dial(ctx context.Context, client int) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, Control: smallSocket}
	conn, err := dialer.DialContext(ctx, "tcp", p.listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, uint32(client))); err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func (p *proxy) serve(near *net.TCPConn) {
	defer near.Close()
	var client [4]byte
	if _, err := io.ReadFull(near, client[:]); err != nil {
		return
	}
	l := p.lines[binary.BigEndian.Uint32(client[:])]
	dialer := net.Dialer{Timeout: dialTimeout, Control: smallSocket}
	far, err := dialer.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer far.Close()
	_ = near.SetWriteBuffer(socketRoom)
	one := &pipe{near: near, far: far.(*net.TCPConn), done: make(chan struct{})}
	l.mu.Lock()
	l.pipes[one] = true
	one.left[toServer].Store(l.next[toServer])
	one.left[toClient].Store(l.next[toClient])
	l.next = [2]int64{}
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.pump(one, toServer, one.far, near) })
	both.Go(func() { l.pump(one, toClient, near, one.far) })
	both.Wait()
	l.mu.Lock()
	delete(l.pipes, one)
	l.mu.Unlock()
}

// close ends everything, and waits for it.
func (p *proxy) close() {
	p.listener.Close()
	for _, l := range p.lines {
		l.each(func(one *pipe) { one.reset() })
	}
	p.all.Wait()
}

// pump copies one direction.
func (l *line) pump(p *pipe, d direction, to, from *net.TCPConn) {
	buffer := make([]byte, pieceSize)
	for {
		n, err := from.Read(buffer)
		if !l.wait(p, d, n) {
			return
		}
		if left := p.left[d].Load(); left > 0 && int64(n) >= left {
			_, _ = to.Write(buffer[:left-1])
			p.reset()
			return
		} else if left > 0 {
			p.left[d].Add(int64(-n))
		}
		if n > 0 && !p.shut[d].Load() {
			if _, err := to.Write(buffer[:n]); err != nil && !p.shut[d].Load() {
				p.reset()
				return
			}
		}
		if err == io.EOF {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			p.reset()
			return
		}
	}
}

// wait waits until n bytes may pass. It returns false if the pipe has been cut.
func (l *line) wait(p *pipe, d direction, n int) bool {
	for {
		l.mu.Lock()
		s, now, changed := l.shapes[d], time.Now(), l.changed
		l.mu.Unlock()
		pause, again := time.Duration(0), false
		switch {
		case s.stalled.After(now):
			pause, again = s.stalled.Sub(now), true
		case s.delayed.After(now):
			pause = s.delay
		case s.throttled.After(now):
			pause = time.Duration(n) * time.Second / time.Duration(s.rate)
		}
		if pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-changed:
			case <-p.done:
			}
			timer.Stop()
		}
		select {
		case <-p.done:
			return false
		default:
		}
		if !again {
			return true
		}
	}
}

// reset ends a pipe on both sides, with RST.
func (p *pipe) reset() {
	p.once.Do(func() {
		close(p.done)
		for _, conn := range []*net.TCPConn{p.near, p.far} {
			_ = conn.SetLinger(0)
			conn.Close()
		}
	})
}

func (l *line) each(f func(*pipe)) {
	l.mu.Lock()
	pipes := make([]*pipe, 0, len(l.pipes))
	for p := range l.pipes {
		pipes = append(pipes, p)
	}
	l.mu.Unlock()
	for _, p := range pipes {
		f(p)
	}
}

// cut cuts all connections.
func (l *line) cut() { l.each((*pipe).reset) }

// cutLater cuts the present connections when a number of bytes have passed.
func (l *line) cutLater(d direction, bytes int) {
	l.each(func(p *pipe) { p.left[d].Store(int64(bytes)) })
}

// cutNext cuts the next connection when a number of bytes have passed.
func (l *line) cutNext(d direction, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[d] = int64(bytes)
}

// cutsNext reports whether the next connection will be cut.
func (l *line) cutsNext() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next != [2]int64{}
}

// halfClose says to one side that nothing more comes from the other one.
func (l *line) halfClose(d direction) {
	l.each(func(p *pipe) {
		p.shut[d].Store(true)
		if d == toServer {
			_ = p.far.CloseWrite()
		} else {
			_ = p.near.CloseWrite()
		}
	})
}

func (l *line) reshape(d direction, change func(*shape)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.shapes[d])
}

func (l *line) stall(d direction, length time.Duration) {
	l.reshape(d, func(s *shape) { s.stalled = time.Now().Add(length) })
}

func (l *line) delay(d direction, delay, length time.Duration) {
	l.reshape(d, func(s *shape) { s.delay, s.delayed = delay, time.Now().Add(length) })
}

func (l *line) throttle(d direction, rate int, length time.Duration) {
	l.reshape(d, func(s *shape) { s.rate, s.throttled = rate, time.Now().Add(length) })
}

// heal ends all disturbances.
func (l *line) heal() {
	l.mu.Lock()
	l.shapes, l.next = [2]shape{}, [2]int64{}
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	l.each(func(p *pipe) {
		p.left[toServer].Store(0)
		p.left[toClient].Store(0)
	})
}
