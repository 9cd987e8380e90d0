package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
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

// browserHeaders are what a browser sends besides what a WebSocket needs.
const browserHeaders = "Origin: http://%s\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n" +
	"Cookie: session=8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d; theme=dark; consent=2026-11-21T00:00:00Z; _ga=GA1.1.1234567890.1700000000\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

// measure starts a server, unless it runs, puts a load on it, and stops it.
func measure(s server, l load) (f figures, err error) {
	if s.command != nil {
		stop, err := start(&s)
		if err != nil {
			return f, err
		}
		defer stop()
	}
	s.get("/gc")
	before := memory(s.pid)
	g := &generator{server: s, load: l}
	if err := g.connect(); err != nil {
		return f, err
	}
	defer g.close()
	if l.kind == idle {
		time.Sleep(2 * time.Second)
		s.get("/gc")
		time.Sleep(500 * time.Millisecond)
		f.memory = float64(memory(s.pid)-before) / float64(l.connections)
		if n, err := strconv.ParseFloat(strings.TrimSpace(s.get("/goroutines")), 64); err == nil {
			f.goroutines = n / float64(l.connections)
		}
		return f, nil
	}
	warm := 500 * time.Millisecond
	if s.warm {
		warm = 6 * time.Second
	}
	return g.run(warm), nil
}

// start runs a server on ports of its own and waits until it answers.
func start(s *server) (stop func(), err error) {
	s.addr, s.control = freeAddr(), freeAddr()
	args := append(slices.Clone(s.command[1:]), "-addr", s.addr)
	if !isBaseline(s.name) {
		args = append(args, "-ctrl", s.control)
	} else {
		s.control = s.addr
	}
	cmd := exec.Command(s.command[0], args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = cmd.Process.Pid
	for range 300 {
		if s.get("/gc") != "" || s.get("/pid") != "" {
			return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	return nil, errors.New("the server does not answer")
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer l.Close()
	return l.Addr().String()
}

// get asks the control port.
func (s *server) get(path string) string {
	r, err := http.Get("http://" + s.control + path)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		return ""
	}
	return string(body) + "\n"
}

// cpu is what a process has used, in seconds.
func cpu(pid int) (user, sys float64) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, 0
	}
	u, _ := strconv.ParseFloat(fields[11], 64)
	s, _ := strconv.ParseFloat(fields[12], 64)
	return u / 100, s / 100 // USER_HZ
}

// memory is the resident set of a process in bytes.
func memory(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb << 10
		}
	}
	return 0
}

// generator is all clients: bare sockets under one epoll, so that they cost as little as they can.
type generator struct {
	server server
	load   load
	epoll  int
	byFD   map[int32]*client
	call   []byte

	recording atomic.Bool
	stopped   atomic.Bool
	count     atomic.Int64
	latencies []float64 // ms
	done      chan struct{}
}

// client is one connection.
type client struct {
	fd      int
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
	body := strings.Repeat(`{"type":1,"invocationId":"1","target":"Echo","arguments":["hello^"]}`+"\x1e", max(1, g.load.perMessage))
	if g.load.classic && !isBaseline(g.server.name) {
		body = `{"H":"BenchHub","M":"Echo","A":["hello^"],"I":"1"}`
	}
	g.call = maskedFrame([]byte(body))
	var mu sync.Mutex
	var group sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	for range 16 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < g.load.connections && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				fd, err := g.dial()
				if err != nil {
					failed.Store(&err)
					return
				}
				mu.Lock()
				g.byFD[int32(fd)] = &client{fd: fd, sampled: i%max(1, g.load.connections/64) == 0}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	for fd := range g.byFD {
		if err := syscall.EpollCtl(g.epoll, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: fd}); err != nil {
			return err
		}
	}
	return nil
}

// dial opens a WebSocket, shakes hands, and returns the socket, non-blocking.
func (g *generator) dial() (fd int, err error) {
	target, err := net.ResolveTCPAddr("tcp4", g.server.addr)
	if err != nil {
		return 0, err
	}
	if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: target.Port, Addr: [4]byte(target.IP.To4())}); err != nil {
		return 0, err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	classic := g.load.classic && !isBaseline(g.server.name)
	path := "/bench"
	var query string
	if classic {
		if query, err = g.negotiate(); err != nil {
			return 0, err
		}
		path = "/benchclassic/connect?" + query
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + g.server.addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n" + fmt.Sprintf(browserHeaders, g.server.addr) + "\r\n"
	if _, err := syscall.Write(fd, []byte(request)); err != nil {
		return 0, err
	}
	end := "\r\n\r\n"
	if classic {
		end = `"M":[]}` // the first message, which comes unasked
	}
	answer, err := readUntil(fd, end)
	if err == nil && !strings.HasPrefix(answer, "HTTP/1.1 101") {
		err = errors.New("refused")
	}
	if err != nil {
		return 0, fmt.Errorf("upgrade: %w: %q", err, answer)
	}
	if classic {
		if answer := g.server.get("/benchclassic/start?" + query); !strings.Contains(answer, "started") {
			return 0, fmt.Errorf("start: %q", answer)
		}
		return fd, syscall.SetNonblock(fd, true)
	}
	protocol := "json"
	if g.load.packed && !isBaseline(g.server.name) {
		protocol = "messagepack"
	}
	if _, err := syscall.Write(fd, maskedFrame([]byte(`{"protocol":"`+protocol+`","version":1}`+"\x1e"))); err != nil {
		return 0, err
	}
	if answer, err := readUntil(fd, "{}\x1e"); err != nil {
		return 0, fmt.Errorf("handshake: %w %q", err, answer)
	}
	return fd, syscall.SetNonblock(fd, true)
}

// negotiate returns the query of a connection of SignalR 2.
func (g *generator) negotiate() (string, error) {
	hubs := url.Values{"clientProtocol": {"2.1"}, "connectionData": {`[{"name":"benchhub"}]`}}
	var answer struct{ ConnectionToken string }
	if err := json.Unmarshal([]byte(g.server.get("/benchclassic/negotiate?"+hubs.Encode())), &answer); err != nil {
		return "", err
	}
	hubs.Set("transport", "webSockets")
	hubs.Set("connectionToken", answer.ConnectionToken)
	return hubs.Encode(), nil
}

func readUntil(fd int, end string) (string, error) {
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.HasSuffix(all, []byte(end)) {
		n, err := syscall.Read(fd, buf)
		if err != nil || n == 0 {
			return string(all), cmp.Or(err, io.ErrUnexpectedEOF)
		}
		all = append(all, buf[:n]...)
	}
	return string(all), nil
}

func maskedFrame(payload []byte) []byte {
	b := []byte{0x81}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i&3])
	}
	return b
}

// run puts the load on the server and measures a window of it.
func (g *generator) run(warm time.Duration) figures {
	g.done = make(chan struct{})
	go g.loop()
	if g.load.kind == broadcast {
		total := warm + *window + 500*time.Millisecond
		go g.server.get(fmt.Sprintf("/start?rate=%g&dur=%d", g.load.rate, total.Milliseconds()))
	} else {
		for _, c := range g.byFD {
			for n := 0; n < g.load.depth; n += g.load.perMessage {
				g.send(c)
			}
		}
	}
	time.Sleep(warm)
	g.recording.Store(true)
	start, n := time.Now(), g.count.Load()
	user, sys := cpu(g.server.pid)
	time.Sleep(*window)
	seconds, count := time.Since(start).Seconds(), float64(g.count.Load()-n)
	userNow, sysNow := cpu(g.server.pid)
	g.recording.Store(false)
	g.stopped.Store(true)
	<-g.done
	f := figures{rate: count / seconds, user: (userNow - user) / count * 1e6, sys: (sysNow - sys) / count * 1e6}
	f.cpu = f.user + f.sys
	if n := len(g.latencies); n > 0 {
		slices.Sort(g.latencies)
		f.p50, f.p99 = g.latencies[n/2], g.latencies[n*99/100]
	}
	return f
}

func (g *generator) close() {
	for fd := range g.byFD {
		_ = syscall.Close(int(fd))
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
	if g.load.kind != echo || count == 0 {
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
	if g.load.packed {
		return packedMarker
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
	if n, err := syscall.Write(c.fd, g.call); n != len(g.call) {
		fmt.Fprintln(os.Stderr, "hubbench: a call could not be written:", err)
	}
}
