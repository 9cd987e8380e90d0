package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// measure puts a load on a server that runs, and measures a window of it after warm.
func measure(s *server, l load, warm time.Duration) (f figures, err error) {
	if l.connections == 0 {
		l.connections = *nodeCount - 1
	}
	g := &generator{server: s, load: l, window: *window * time.Duration(max(1, l.windows)), protocol: l.protocol}
	if isBaseline(s.name) {
		g.protocol = jsonText
	}
	switch l.kind {
	case connects:
		return g.connectForAWhile(warm)
	case churn:
		return g.comeAndGo(*churnFor)
	case idle:
		g.window = pingPeriod
	}
	defer g.close()
	if err := g.connect(); err != nil {
		return f, err
	}
	if l.kind == idle {
		return g.idle()
	}
	return g.run(warm)
}

// generator is all clients: bare sockets under one epoll, so that they cost as little as they can.
type generator struct {
	server   *server
	load     load
	window   time.Duration
	protocol protocol
	epoll    int
	byFD     map[int32]*client
	fds      []int // of all sockets

	recording atomic.Bool
	stopped   atomic.Bool
	count     atomic.Int64
	latencies []float64 // ms
	share     float64   // of a core, that loop has used while it was recording
	lost      int       // connections that the server has closed
	unwritten error     // why a call could not be written, if one could not
	done      chan struct{}
}

// client is one connection.
type client struct {
	fd      int
	id      string    // if the load needs it
	calls   [2][]byte // which are made in turns: the id of a stream can be used again only when its completion has come
	turn    int
	caller  int // the socket that calls are written to
	counter counter
	sampled bool
	due     int         // answers, or items, to calls under way
	sent    []time.Time // of these calls
}

func (g *generator) connect() error {
	var err error
	if g.epoll, err = syscall.EpollCreate1(0); err != nil {
		return err
	}
	g.byFD = map[int32]*client{}
	var mu sync.Mutex
	err = inParallel(func(i int) (bool, error) {
		if i >= g.load.connections {
			return false, nil
		}
		// Those that do not read are as far from each other as they can, and not among those that are sampled.
		deaf := g.load.deaf > 0 && i%(g.load.connections/g.load.deaf) == 1
		c, err := g.newClient(i, deaf)
		if err != nil {
			return false, err
		}
		mu.Lock()
		defer mu.Unlock()
		if g.fds = append(g.fds, c.fd); c.caller != c.fd {
			g.fds = append(g.fds, c.caller)
		}
		if !deaf {
			g.byFD[int32(c.fd)] = c
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for fd := range g.byFD {
		if err := syscall.EpollCtl(g.epoll, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: fd}); err != nil {
			return err
		}
	}
	return nil
}

// newClient opens a connection, and a second one if another one calls for it.
func (g *generator) newClient(i int, deaf bool) (_ *client, err error) {
	c := &client{sampled: i%max(1, g.load.connections/64) == 0, counter: counter{marker: g.marker()}}
	nodes := g.server.all()
	node := &nodes[i%len(nodes)]
	if n := len(nodes); g.load.elsewhere && n > 1 {
		node = &nodes[1+i%(n-1)]
	}
	if c.fd, c.id, err = g.dial(node, "", deaf); err != nil {
		return nil, err
	}
	c.caller = c.fd
	defer func() {
		if err != nil {
			_ = syscall.Close(c.fd)
		}
	}()
	if (g.load.kind == each || g.load.kind == across) && c.id == "" {
		if c.id, err = askID(c.fd); err != nil {
			return nil, err
		}
	}
	if g.load.groups > 0 && !isBaseline(g.server.name) {
		if _, err := invoke(c.fd, "Join", fmt.Sprint("g", i%g.load.groups)); err != nil {
			return nil, err
		}
	}
	if g.load.kind == across {
		if c.caller, _, err = g.dial(&nodes[0], "", false); err != nil {
			return nil, err
		}
	}
	for i := range c.calls {
		c.calls[i] = g.call(c, fmt.Sprint(i+1))
	}
	return c, errors.Join(syscall.SetNonblock(c.fd, true), syscall.SetNonblock(c.caller, true))
}

// call returns a frame with what a client calls.
func (g *generator) call(c *client, id string) []byte {
	var body []byte
	switch g.load.kind {
	case stream:
		body = g.protocol.call(streamInvocation, id, "Stream", streamed)
	case across:
		body = g.protocol.call(invocation, noID, "SendTo", c.id, 1, "hello^")
	default:
		for range max(1, g.load.perMessage) {
			body = append(body, g.protocol.call(invocation, id, "Echo", "hello^")...)
		}
	}
	return maskedFrame(g.protocol.opcode(), body)
}

func (g *generator) marker() []byte {
	switch {
	case g.load.kind == flood:
		return recordMarker
	case g.protocol == packed:
		return packedMarker
	}
	return plainMarker
}

// workers is how many connections are opened at once.
const workers = 16

// inParallel has workers do what is numbered from 0, until it is said that there is no more, or until one fails.
func inParallel(do func(i int) (more bool, err error)) error {
	var group sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	for range workers {
		group.Go(func() {
			for failed.Load() == nil {
				more, err := do(int(next.Add(1)) - 1)
				if err != nil {
					failed.Store(&err)
				}
				if !more {
					return
				}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// order has a server send, for at least so long, and returns what it is asked for. The channel gets its answer when it has ended.
func (g *generator) order(long time.Duration) (path string, answer chan string) {
	answer = make(chan string, 1)
	body := ""
	switch l := g.load; {
	case l.kind == broadcast && l.bytes == 0 && l.groups == 0:
		path = fmt.Sprintf("/start?rate=%g&dur=%d", l.rate, long.Milliseconds())
	case l.kind == broadcast:
		path = fmt.Sprintf("/bench/start?rate=%g&dur=%d&bytes=%d&groups=%d", l.rate, long.Milliseconds(), l.bytes, l.groups)
	case l.kind == flood:
		path = fmt.Sprintf("/bench/broadcast?n=%d&bytes=%d", math.MaxInt32, l.bytes)
	case l.kind == each:
		path = fmt.Sprintf("/bench/each?dur=%d&bytes=%d", long.Milliseconds(), l.bytes)
		for _, c := range g.byFD {
			body += c.id + " "
		}
	default:
		return "", nil
	}
	go func() {
		if g.load.kind == broadcast {
			answer <- g.server.getLong(path)
		} else {
			answer <- g.server.postLong(path, body)
		}
	}()
	return path, answer
}

// run puts the load on the server and measures a window of it.
func (g *generator) run(warm time.Duration) (figures, error) {
	path, answer := g.order(warm + g.window + 500*time.Millisecond)
	if answer == nil {
		for _, c := range g.byFD {
			for c.due < g.load.depth {
				g.send(c)
			}
		}
	}
	g.done = make(chan struct{})
	go g.loop() // which goes on with the calls of clients
	time.Sleep(warm)
	profiled := g.server.profile()
	w := g.begin()
	g.recording.Store(true)
	time.Sleep(g.window)
	f := w.end()
	g.recording.Store(false)
	profiled.Wait()
	g.stopped.Store(true)
	<-g.done
	f.Generator = g.share
	g.latenciesOf(&f)
	g.close()
	if answer != nil && (g.server.warm || g.server.command == nil || len(answer) > 0) { // one that goes on to run shall have nothing left to do
		select {
		case text := <-answer:
			if text == "" && g.failure() == nil {
				return f, &lacking{"it has no order " + path + ", or could not carry it out"}
			}
		case <-time.After(patience):
			return f, fmt.Errorf("the order %s does not end", path)
		}
	}
	switch {
	case g.failure() != nil:
		return f, g.failure()
	case f.PerSecond > 0:
	case answer != nil:
		return f, &lacking{"it has delivered nothing while it was measured"}
	default:
		return f, &lacking{"it has no answer to what clients do"}
	}
	return f, nil
}

// failure says why what has been measured is not what its name says, if it is not.
func (g *generator) failure() error {
	switch {
	case g.lost > 0:
		return fmt.Errorf("it has closed %d of %d connections", g.lost, len(g.byFD))
	case g.unwritten != nil:
		return fmt.Errorf("a call could not be written: %w", g.unwritten)
	}
	return nil
}

func (g *generator) close() {
	for _, fd := range g.fds {
		_ = syscall.Close(fd)
	}
	if g.fds = nil; g.epoll != 0 {
		_ = syscall.Close(g.epoll)
		g.epoll = 0
	}
}

// loop reads everything that comes.
func (g *generator) loop() {
	defer close(g.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // a thread that ended would end the servers that it has started
	events := make([]syscall.EpollEvent, 2048)
	buf := make([]byte, 512<<10)
	recording := false
	var began time.Time
	var before time.Duration
	recorded := func() { g.share = float64(usage(ofThread)-before) / float64(time.Since(began)) }
	for !g.stopped.Load() {
		if now := g.recording.Load(); now != recording {
			if recording = now; recording {
				began, before = time.Now(), usage(ofThread)
			} else {
				recorded()
			}
		}
		n, err := syscall.EpollWait(g.epoll, events, 100)
		if err != nil && err != syscall.EINTR {
			panic(err)
		}
		for _, e := range events[:max(0, n)] {
			c := g.byFD[e.Fd]
			n, err := syscall.Read(c.fd, buf)
			if n <= 0 {
				if err != syscall.EAGAIN {
					g.lost++
					_ = syscall.EpollCtl(g.epoll, syscall.EPOLL_CTL_DEL, c.fd, nil)
				}
				continue
			}
			g.received(c, buf[:n])
		}
		if g.load.lazy > 0 {
			time.Sleep(g.load.lazy)
		}
	}
	if recording {
		recorded()
	}
}

// received counts the messages in what has come.
func (g *generator) received(c *client, b []byte) {
	now := time.Now()
	count := 0
	for len(b) > 0 {
		var payload []byte
		payload, b = c.counter.next(b)
		n := c.counter.count(payload)
		count += n
		if n > 0 && c.sampled && g.load.kind == broadcast && g.recording.Load() {
			g.latencies = appendAges(g.latencies, payload, now)
		}
	}
	g.count.Add(int64(count))
	if g.load.depth == 0 || count == 0 {
		return
	}
	if g.load.kind != stream {
		for _, sent := range c.sent[:count] {
			if g.recording.Load() {
				g.latencies = append(g.latencies, float64(now.Sub(sent))/1e6)
			}
		}
		c.sent = append(c.sent[:0], c.sent[count:]...)
	}
	for c.due -= count; c.due+g.load.perMessage <= g.load.depth; {
		g.send(c)
	}
}

func (g *generator) send(c *client) {
	c.due += g.load.perMessage
	if now := time.Now(); g.load.kind != stream {
		for range g.load.perMessage {
			c.sent = append(c.sent, now)
		}
	}
	call := c.calls[c.turn%2]
	c.turn++
	if n, err := syscall.Write(c.caller, call); n != len(call) {
		g.unwritten = cmp.Or(err, io.ErrShortWrite)
	}
}
