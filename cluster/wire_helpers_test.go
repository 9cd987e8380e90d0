package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// processVariable makes the test binary a process of a cluster, where that is tested.
const processVariable = "TROUPE_CLUSTER_PROCESS"

var runProcess func()

func TestMain(m *testing.M) {
	if runProcess != nil && os.Getenv(processVariable) != "" {
		runProcess()
		return
	}
	code := m.Run()
	late := time.Now().Add(testTime)
	for err := goleak.Find(); code == 0 && err != nil; err = goleak.Find() { // memberlist ends a probe that it has begun
		if time.Now().After(late) {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}

// testTime is how long a test waits for what happens within a second or two on an idle machine.
const testTime = 60 * time.Second

var testKey = bytes.Repeat([]byte("k"), leastKey)

// watcher is the upper half of a node: it notes what it is told.
type watcher struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	members map[backplane.NodeID]member
	lost    map[backplane.NodeID]int // how often a member was broken
	numbers map[backplane.NodeID][]uint64
	sizes   []int
	hold    func(from backplane.NodeID) // called for each frame; nil: nothing
}

func newWatcher() *watcher {
	return &watcher{changed: make(chan struct{}), members: map[backplane.NodeID]member{}, lost: map[backplane.NodeID]int{}, numbers: map[backplane.NodeID][]uint64{}}
}

func (s *watcher) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *watcher) joined(m member)            { s.change(func() { s.members[m.id] = m }) }
func (s *watcher) left(id backplane.NodeID)   { s.change(func() { delete(s.members, id) }) }
func (s *watcher) broken(id backplane.NodeID) { s.change(func() { s.lost[id]++ }) }

func (s *watcher) frame(f *clusterv1.Frame) {
	from := backplane.NodeID(f.From)
	if s.hold != nil {
		s.hold(from)
	}
	s.change(func() {
		s.numbers[from] = append(s.numbers[from], f.GetBatch().GetNumber())
		s.sizes = append(s.sizes, len(f.ProtoReflect().GetUnknown()))
	})
}

// until waits until a condition holds of what the watcher has noted.
func (s *watcher) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(testTime)
	for {
		s.mu.Lock()
		ok, changed := holds(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			s.mu.Lock()
			defer s.mu.Unlock()
			require.Fail(t, "it has not happened: "+what, "members %v, broken %v", slices.Collect(maps.Values(s.members)), s.lost)
		}
	}
}

type testNode struct {
	*wire
	seen   *watcher
	system *actor.ActorSystem
	cut    *cutter
}

func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

// open opens the ports of a node on the loopback interface, with free ports and a key unless configure says otherwise.
func open(t *testing.T, serve http.Handler, configure func(*Config)) *testNode {
	t.Helper()
	n := &testNode{seen: newWatcher(), system: newSystem(), cut: new(cutter)}
	config := Config{Bind: "127.0.0.1:0", Key: testKey, Logger: slog.New(slog.NewTextHandler(testLog(t), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	config.dial, config.gossip = n.cut.dial, n.cut.wrap
	config.probe = 2 * time.Second // on a busy machine, nobody is taken for dead who is not
	if configure != nil {
		configure(&config)
	}
	var err error
	n.wire, err = newWire(config.withDefaults(), n.system, backplane.NodeID(rand.Uint32()), serve, n.seen)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTime)
		defer cancel()
		if n.members == nil {
			n.shut()
		}
		_ = n.stop(ctx)
	})
	return n
}

// start opens a node and has it join others.
func start(t *testing.T, serve http.Handler, configure func(*Config), seeds ...*testNode) *testNode {
	t.Helper()
	n := open(t, serve, func(c *Config) {
		for _, seed := range seeds {
			c.Seeds = append(c.Seeds, seed.members.addresses[0].String())
		}
		if configure != nil {
			configure(c)
		}
	})
	require.NoError(t, n.join(t.Context()))
	return n
}

// meet waits until all nodes are members for each other.
func meet(t *testing.T, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		for _, other := range nodes {
			if other != n {
				n.seen.until(t, fmt.Sprintf("%s has joined", other.id), func() bool { _, ok := n.seen.members[other.id]; return ok })
			}
		}
	}
}

// quick is for nodes that are to find out soon that another one has gone.
func quick(c *Config) { c.probe = 0 }

func (n *testNode) sees(t *testing.T, what string, holds func(*watcher) bool) {
	t.Helper()
	n.seen.until(t, what, func() bool { return holds(n.seen) })
}

func (n *testNode) sendNumber(to *testNode, number uint64) {
	n.send(to.id, &clusterv1.Frame{From: uint32(n.id), To: uint32(to.id), Kind: &clusterv1.Frame_Batch{Batch: &clusterv1.Batch{Number: number}}})
}

// sendLarge sends a frame with that many bytes of a field that no version knows.
func (n *testNode) sendLarge(to *testNode, size int) {
	f := &clusterv1.Frame{From: uint32(n.id), To: uint32(to.id)}
	f.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), make([]byte, size)))
	n.send(to.id, f)
}

func (n *testNode) gets(t *testing.T, from *testNode, numbers ...uint64) {
	t.Helper()
	n.sees(t, fmt.Sprintf("frames %v from %s", numbers, from.id), func(s *watcher) bool { return len(s.numbers[from.id]) >= len(numbers) })
	n.seen.mu.Lock()
	defer n.seen.mu.Unlock()
	require.Equal(t, numbers, n.seen.numbers[from.id])
}

// talk has two nodes send each other a frame, until one arrives each way.
func talk(t *testing.T, a, b *testNode) {
	t.Helper()
	for _, both := range [][2]*testNode{{a, b}, {b, a}} {
		from, to := both[0], both[1]
		to.seen.mu.Lock()
		before := len(to.seen.numbers[from.id])
		to.seen.mu.Unlock()
		require.Eventually(t, func() bool {
			from.sendNumber(to, 1)
			to.seen.mu.Lock()
			defer to.seen.mu.Unlock()
			return len(to.seen.numbers[from.id]) > before
		}, testTime, 20*time.Millisecond)
	}
}

// threePorts returns the first of three consecutive free ports.
func threePorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(10000)
		free := true
		for i := range 3 {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if free {
			return port
		}
	}
	require.Fail(t, "there are no free ports")
	return 0
}

// cutter cuts a node off from others.
type cutter struct {
	mu    sync.Mutex
	off   map[string]bool // addresses that cannot be reached
	conns map[net.Conn]string
}

// cut cuts two nodes off from each other, or joins them again.
func cut(a, b *testNode, off bool) {
	a.cut.set(b, off)
	b.cut.set(a, off)
}

func (c *cutter) set(other *testNode, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off == nil {
		c.off = map[string]bool{}
	}
	for _, address := range other.members.addresses {
		c.off[address.String()] = off
	}
	for conn, address := range c.conns {
		if c.off[address] {
			conn.Close()
			delete(c.conns, conn)
		}
	}
}

func (c *cutter) reaches(address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.off[address]
}

func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off[address] {
		conn.Close()
		return nil, io.ErrClosedPipe
	}
	if c.conns == nil {
		c.conns = map[net.Conn]string{}
	}
	c.conns[conn] = address
	return conn, nil
}

func (c *cutter) wrap(t memberlist.NodeAwareTransport) memberlist.NodeAwareTransport {
	return &cutGossip{t, c}
}

// cutGossip is gossip that a cutter can end.
type cutGossip struct {
	memberlist.NodeAwareTransport
	cut *cutter
}

func (g *cutGossip) WriteTo(b []byte, address string) (time.Time, error) {
	return g.WriteToAddress(b, memberlist.Address{Addr: address})
}

func (g *cutGossip) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if !g.cut.reaches(a.Addr) {
		return time.Now(), nil
	}
	return g.NodeAwareTransport.WriteToAddress(b, a)
}

func (g *cutGossip) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return g.DialAddressTimeout(memberlist.Address{Addr: address}, timeout)
}

func (g *cutGossip) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if !g.cut.reaches(a.Addr) {
		return nil, io.ErrClosedPipe
	}
	return g.NodeAwareTransport.DialAddressTimeout(a, timeout)
}

// testLog writes to the log of a test while it runs.
func testLog(t *testing.T) io.Writer {
	l := &logOfTest{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return l
}

type logOfTest struct {
	mu sync.Mutex
	t  *testing.T
}

func (l *logOfTest) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Log(string(bytes.TrimSpace(line)))
	}
	return len(line), nil
}
