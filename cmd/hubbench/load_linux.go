package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// marker stands once in every message that is counted, and nowhere else in what servers send. Times in MessagePack can have any byte, so
// there it is looked for together with what stands before it; that a read ends between the two is rare.
const marker = '^'

var packedMarker = []byte("o^")

// measure starts a server, unless it runs, puts a load on it, and stops it.
func measure(s server, l load) (f figures, err error) {
	if s.command != nil {
		stop, err := start(&s)
		if err != nil {
			return f, err
		}
		defer stop()
	}
	if l.connections == 0 {
		l.connections = *nodeCount - 1
	}
	s.collect()
	before := s.memory()
	g := &generator{server: s, load: l}
	if l.kind == connects {
		return g.connectForAWhile()
	}
	if err := g.connect(); err != nil {
		return f, err
	}
	defer g.close()
	if l.kind == idle {
		time.Sleep(2 * time.Second)
		s.collect()
		time.Sleep(500 * time.Millisecond)
		f.memory = float64(s.memory()-before) / float64(l.connections)
		for _, node := range s.all() {
			if n, err := strconv.ParseFloat(strings.TrimSpace(node.get("/goroutines")), 64); err == nil {
				f.goroutines += n / float64(l.connections)
			}
		}
		begin := s.cpu()
		time.Sleep(*window)
		end := s.cpu()
		f.idle = (end.user - begin.user + end.sys - begin.sys) / window.Seconds() * 1e3
		return f, nil
	}
	warm := 500 * time.Millisecond
	if s.warm {
		warm = 6 * time.Second
	}
	return g.run(warm), nil
}

// generator is all clients: bare sockets under one epoll, so that they cost as little as they can.
type generator struct {
	server server
	load   load
	epoll  int
	byFD   map[int32]*client
	fds    []int // of all sockets

	recording atomic.Bool
	stopped   atomic.Bool
	count     atomic.Int64
	latencies []float64 // ms
	done      chan struct{}
}

// client is one connection.
type client struct {
	fd      int
	id      string // if the load needs it
	call    []byte
	caller  int    // the socket that calls are written to
	header  []byte // of a frame, as far as it has come
	rest    int    // bytes of the frame that are still to come
	sampled bool
	sent    []time.Time // of calls under way
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
		c, err := g.newClient(i)
		if err != nil {
			return false, err
		}
		mu.Lock()
		defer mu.Unlock()
		g.byFD[int32(c.fd)] = c
		if g.fds = append(g.fds, c.fd); c.caller != c.fd {
			g.fds = append(g.fds, c.caller)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for fd := range g.byFD {
		if err := syscall.EpollCtl(g.epoll, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: fd}); err != nil {
			return err
		}
	}
	return nil
}

// newClient opens a connection, and a second one if another one calls for it.
func (g *generator) newClient(i int) (c *client, err error) {
	c = &client{sampled: i%max(1, g.load.connections/64) == 0}
	nodes := g.server.all()
	node := nodes[i%len(nodes)]
	if n := len(nodes); g.load.elsewhere && n > 1 {
		node = nodes[1+i%(n-1)]
	}
	if c.fd, err = g.dial(node, ""); err != nil {
		return nil, err
	}
	c.caller = c.fd
	if g.load.kind == each || g.load.kind == across {
		if c.id, err = askID(c.fd); err != nil {
			return nil, err
		}
	}
	body := strings.Repeat(`{"type":1,"invocationId":"1","target":"Echo","arguments":["hello^"]}`+"\x1e", max(1, g.load.perMessage))
	if g.load.classic && !isBaseline(g.server.name) {
		body = `{"H":"BenchHub","M":"Echo","A":["hello^"],"I":"1"}`
	}
	if g.load.kind == across {
		body = `{"type":1,"target":"SendTo","arguments":["` + c.id + `",1,"hello^"]}` + "\x1e"
		if c.caller, err = g.dial(nodes[0], ""); err != nil {
			return nil, err
		}
	}
	c.call = maskedFrame([]byte(body))
	return c, errors.Join(syscall.SetNonblock(c.fd, true), syscall.SetNonblock(c.caller, true))
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

// connectForAWhile opens connections, of which each is negotiated with one node and opened at the next, and closes them again.
func (g *generator) connectForAWhile() (f figures, err error) {
	nodes := g.server.all()
	var mu sync.Mutex
	begin := time.Now().Add(500 * time.Millisecond)
	var start time.Time // of what is measured
	var before used
	profiled := g.server.profile()
	err = inParallel(func(i int) (bool, error) {
		began := time.Now()
		token, err := nodes[i%len(nodes)].negotiate()
		if err != nil {
			return false, err
		}
		fd, err := g.dial(nodes[(i+1)%len(nodes)], token)
		if err != nil {
			return false, err
		}
		// Without a linger, there would be no free port for so many.
		err = errors.Join(syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}), syscall.Close(fd))
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		if now.After(begin) {
			if start.IsZero() {
				start, before = now, g.server.cpu()
			}
			g.latencies = append(g.latencies, float64(now.Sub(began))/1e6)
		}
		return now.Before(begin.Add(*window)), err
	})
	after, elapsed := g.server.cpu(), time.Since(start)
	profiled.Wait()
	return g.figures(before, after, float64(len(g.latencies)), elapsed), err
}

// run puts the load on the server and measures a window of it.
func (g *generator) run(warm time.Duration) figures {
	g.done = make(chan struct{})
	go g.loop()
	total := (warm + *window + 500*time.Millisecond).Milliseconds()
	switch g.load.kind {
	case broadcast:
		go g.server.get(fmt.Sprintf("/start?rate=%g&dur=%d", g.load.rate, total))
	case flood:
		go g.server.post(fmt.Sprintf("/bench/broadcast?n=%d&bytes=%d", math.MaxInt32, g.load.bytes), "")
	case each:
		var ids []string
		for _, c := range g.byFD {
			ids = append(ids, c.id)
		}
		go g.server.post(fmt.Sprintf("/bench/each?dur=%d&bytes=%d", total, g.load.bytes), strings.Join(ids, " "))
	default:
		for _, c := range g.byFD {
			for n := 0; n < g.load.depth; n += g.load.perMessage {
				g.send(c)
			}
		}
	}
	time.Sleep(warm)
	g.recording.Store(true)
	profiled := g.server.profile()
	start, n, before := time.Now(), g.count.Load(), g.server.cpu()
	time.Sleep(*window)
	elapsed, count, after := time.Since(start), float64(g.count.Load()-n), g.server.cpu()
	profiled.Wait()
	g.recording.Store(false)
	g.stopped.Store(true)
	<-g.done
	return g.figures(before, after, count, elapsed)
}

func (g *generator) figures(before, after used, count float64, elapsed time.Duration) figures {
	f := figures{rate: count / elapsed.Seconds(), user: (after.user - before.user) / count * 1e6, sys: (after.sys - before.sys) / count * 1e6}
	f.cpu, f.first = f.user+f.sys, (after.first-before.first)/count*1e6
	if n := len(g.latencies); n > 0 {
		slices.Sort(g.latencies)
		f.p50, f.p99 = g.latencies[n/2], g.latencies[n*99/100]
	}
	return f
}

func (g *generator) close() {
	for _, fd := range g.fds {
		_ = syscall.Close(fd)
	}
	_ = syscall.Close(g.epoll)
}

// loop reads everything that comes.
func (g *generator) loop() {
	defer close(g.done)
	runtime.LockOSThread()
	events := make([]syscall.EpollEvent, 2048)
	buf := make([]byte, 512<<10)
	for !g.stopped.Load() {
		n, err := syscall.EpollWait(g.epoll, events, 100)
		if err != nil && err != syscall.EINTR {
			panic(err)
		}
		for _, e := range events[:max(0, n)] {
			c := g.byFD[e.Fd]
			n, err := syscall.Read(c.fd, buf)
			if n <= 0 {
				if err != syscall.EAGAIN {
					fmt.Fprintln(os.Stderr, "hubbench: the server has closed a connection:", err)
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
}

// received counts the messages in what has come.
func (g *generator) received(c *client, b []byte) {
	now := time.Now()
	count := 0
	for len(b) > 0 {
		if c.rest == 0 {
			b = c.readHeader(b)
			continue
		}
		payload := b[:min(len(b), c.rest)]
		b = b[len(payload):]
		c.rest -= len(payload)
		n := bytes.Count(payload, g.marker())
		count += n
		if n > 0 && c.sampled && g.load.kind == broadcast && g.recording.Load() {
			g.sample(payload, now)
		}
	}
	g.count.Add(int64(count))
	if g.load.kind != echo && g.load.kind != across || count == 0 {
		return
	}
	for _, sent := range c.sent[:count] {
		if g.recording.Load() {
			g.latencies = append(g.latencies, float64(now.Sub(sent))/1e6)
		}
	}
	c.sent = append(c.sent[:0], c.sent[count:]...)
	for len(c.sent)+g.load.perMessage <= g.load.depth {
		g.send(c)
	}
}

func (g *generator) marker() []byte {
	switch {
	case g.load.packed:
		return packedMarker
	case g.load.kind == flood || g.load.kind == each:
		return []byte{0x1e} // which ends each message
	}
	return []byte{marker}
}

// readHeader takes what b has of a frame's header. Servers do not mask.
func (c *client) readHeader(b []byte) []byte {
	c.header = append(c.header, b[0])
	h := c.header
	switch {
	case len(h) == 2 && h[1] < 126:
		c.rest = int(h[1])
	case len(h) == 4 && h[1] == 126:
		c.rest = int(binary.BigEndian.Uint16(h[2:]))
	case len(h) == 10:
		c.rest = int(binary.BigEndian.Uint64(h[2:]))
	default:
		return b[1:]
	}
	c.header = h[:0]
	return b[1:]
}

// sample takes the times out of broadcasts.
func (g *generator) sample(payload []byte, now time.Time) {
	for { // of a MessagePack time: the name, the type, eight bytes
		_, rest, ok := bytes.Cut(payload, []byte("\xa1t\xcf"))
		if !ok || len(rest) < 8 {
			break
		}
		g.latencies = append(g.latencies, float64(now.UnixNano()-int64(binary.BigEndian.Uint64(rest)))/1e6)
		payload = rest
	}
	for {
		_, rest, ok := bytes.Cut(payload, []byte(`"t":`))
		if !ok || len(rest) < 19 {
			return
		}
		if t, err := strconv.ParseInt(string(rest[:19]), 10, 64); err == nil {
			g.latencies = append(g.latencies, float64(now.UnixNano()-t)/1e6)
		}
		payload = rest
	}
}

func (g *generator) send(c *client) {
	now := time.Now()
	for range g.load.perMessage {
		c.sent = append(c.sent, now)
	}
	if n, err := syscall.Write(c.caller, c.call); n != len(c.call) {
		fmt.Fprintln(os.Stderr, "hubbench: a call could not be written:", err)
	}
}
