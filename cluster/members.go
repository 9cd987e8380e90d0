package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/internal/logs"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

const (
	// version is what members must have in common to talk to each other: frames, and the protocol of remote. Protoactor has changed the latter
	// once without a version of its own.
	version = 1

	rejoinPause = 500 * time.Millisecond
	lookupPause = 5 * time.Second
	formerTime  = 10 * time.Minute // how long a member that has not left is looked for
	maxFormer   = 1024
	maxJoins    = 16 // at a time
	maxAnswers  = 5
	freePorts   = 10 // attempts to find one
	gossipTime  = time.Second
	leaveTime   = time.Second
)

// membership knows which processes are members, by gossip. That does not say which of them this one can reach.
//
// Gossip by itself never heals a partition: who has taken others for dead does not ask them again. So seeds and former members that are no members
// are joined again and again.
type membership struct {
	list      *memberlist.Memberlist
	self      string // its name, which is its id
	addresses [3]netip.AddrPort
	config    *Config
	log       *slog.Logger
	limiter   *logs.Limiter
	drained   sync.Once
	draining  atomic.Bool
	taken     atomic.Bool

	joined func(m member, remote, relay string)
	left   func(backplane.NodeID)

	ctx   context.Context
	close context.CancelFunc
	tasks sync.WaitGroup

	mu      sync.Mutex
	present map[string]string    // names of members by their gossip address
	leaving map[string]bool      // names of members that have said that they drain
	former  map[string]time.Time // until when an address is asked whether a member is there again
	seeds   map[string][]string  // what the seeds are: addresses of gossip
	looking bool
	asked   map[string]*asked // addresses that have been joined
}

// asked is what is known of an address that has been joined.
type asked struct {
	busy    bool
	next    time.Time // when it can be joined again
	answers int       // how often one in a row has answered that is no member by this address
}

// newMembership makes this process a member, of a cluster that has no others yet.
func newMembership(c *Config, s *secrets, id backplane.NodeID, ports [3]uint16, joined func(m member, remote, relay string), left func(backplane.NodeID)) (*membership, error) {
	m := &membership{
		joined: joined, left: left, self: id.String(), config: c, log: c.Logger, limiter: &logs.Limiter{Most: 5},
		present: map[string]string{}, leaving: map[string]bool{}, former: map[string]time.Time{}, seeds: map[string][]string{}, asked: map[string]*asked{},
	}
	m.ctx, m.close = context.WithCancel(context.Background())
	sockets, err := m.listen(ports[0])
	if err != nil {
		return nil, err
	}
	ports[0] = uint16(sockets.GetAutoBindPort())
	var transport memberlist.NodeAwareTransport = sockets
	if c.gossip != nil {
		transport = c.gossip(sockets)
	}
	if m.addresses, err = c.advertised(ports); err != nil {
		return nil, errors.Join(err, sockets.Shutdown())
	}
	addresses := m.addresses
	config := memberlist.DefaultLANConfig()
	config.Name, config.Label, config.Transport = m.self, c.Cluster, transport
	config.AdvertiseAddr, config.AdvertisePort = addresses[0].Addr().String(), int(addresses[0].Port())
	config.ProbeInterval, config.ProbeTimeout = c.probe, c.probe/2
	config.SuspicionMult, config.SuspicionMaxTimeoutMult = 4, 2
	config.GossipInterval, config.PushPullInterval, config.GossipToTheDeadTime = 100*time.Millisecond, 5*time.Second, 30*time.Second
	config.TCPTimeout = gossipTime
	config.EnableCompression = false // of packets that have next to nothing in them
	config.Delegate, config.Events, config.Conflict = (*delegate)(m), (*delegate)(m), (*delegate)(m)
	config.Logger = gossipLog(m.log, m.limiter)
	if s != nil {
		if config.Keyring, err = memberlist.NewKeyring(s.gossip[1:], s.gossip[0]); err != nil {
			return nil, errors.Join(err, sockets.Shutdown())
		}
	}
	if m.list, err = memberlist.Create(config); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: %w", err), sockets.Shutdown())
	}
	return m, nil
}

// listen listens for gossip.
func (m *membership) listen(port uint16) (t *memberlist.NetTransport, err error) {
	bind, _ := parseBind(m.config.Bind)
	config := &memberlist.NetTransportConfig{BindAddrs: []string{bind.Addr().String()}, BindPort: int(port), Logger: gossipLog(m.log, m.limiter)}
	for range freePorts { // of a port that is free over TCP, the one over UDP may be taken
		if t, err = memberlist.NewNetTransport(config); err == nil {
			return t, nil
		}
		if port != 0 {
			break
		}
	}
	return nil, fmt.Errorf("cluster: %w", err)
}

// join joins the seeds that can be reached, and goes on with that until stop.
func (m *membership) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*gossipTime)
	defer cancel()
	m.look(ctx)
	addresses := m.missing(time.Now())
	answers := make(chan bool, len(addresses))
	for _, address := range addresses {
		m.tasks.Go(func() { answers <- m.ask(address) })
	}
	reached := 0
	for range addresses {
		select {
		case ok := <-answers:
			if ok {
				reached++
			}
		case <-ctx.Done():
		}
	}
	if m.taken.Load() {
		return errTaken
	}
	m.tasks.Go(m.rejoin)
	if len(m.config.Seeds) > 0 && reached == 0 {
		m.log.Info("no other node has been reached so far; they are tried again until one is", "seeds", len(m.config.Seeds))
	}
	return nil
}

// rejoin joins seeds and former members that are no members.
func (m *membership) rejoin() {
	tick := time.NewTicker(rejoinPause)
	defer tick.Stop()
	looked := time.Now()
	for {
		select {
		case <-m.ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(looked) >= lookupPause && m.startLooking() {
				looked = now
				m.tasks.Go(func() {
					ctx, cancel := context.WithTimeout(m.ctx, lookupPause)
					defer cancel()
					m.look(ctx)
				})
			}
			for _, address := range m.missing(now) {
				m.tasks.Go(func() { m.ask(address) })
			}
		}
	}
}

func (m *membership) startLooking() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.looking {
		return false
	}
	m.looking = true
	return true
}

// look finds out which addresses the seeds have. Those of a name that is not found stay as they were.
func (m *membership) look(ctx context.Context) {
	for _, seed := range m.config.Seeds {
		host, port, _ := splitSeed(seed, m.port())
		var ips []netip.Addr
		if ip, err := netip.ParseAddr(host); err == nil {
			ips = []netip.Addr{ip}
		} else if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			if ok, _ := m.limiter.Allow("lookup " + seed); ok && m.ctx.Err() == nil {
				m.log.Warn("a seed of the cluster is not found", "seed", seed, "error", err)
			}
			continue
		}
		addresses := make([]string, len(ips))
		for i, ip := range ips {
			addresses[i] = netip.AddrPortFrom(ip.Unmap(), port).String()
		}
		m.mu.Lock()
		m.seeds[seed] = addresses
		m.mu.Unlock()
	}
	m.mu.Lock()
	m.looking = false
	m.mu.Unlock()
}

// port is the one that seeds have if they name none.
func (m *membership) port() uint16 {
	if bind, _ := parseBind(m.config.Bind); bind.Port() != 0 {
		return bind.Port()
	}
	return firstPort
}

// missing returns addresses to join now.
func (m *membership) missing(now time.Time) (addresses []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := map[string]bool{}
	for _, seed := range m.seeds {
		for _, address := range seed {
			wanted[address] = true
		}
	}
	for address, until := range m.former {
		if now.After(until) {
			delete(m.former, address)
		} else {
			wanted[address] = true
		}
	}
	busy := 0
	for address, q := range m.asked {
		if q.busy {
			busy++
		} else if !wanted[address] || m.present[address] != "" {
			delete(m.asked, address)
		}
	}
	for address := range wanted {
		q := m.asked[address]
		if m.present[address] == "" && address != m.addresses[0].String() && (q == nil || !q.busy && !q.next.After(now)) {
			addresses = append(addresses, address)
		}
	}
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	addresses = addresses[:min(len(addresses), max(0, maxJoins-busy))]
	for _, address := range addresses {
		if m.asked[address] == nil {
			m.asked[address] = new(asked)
		}
		m.asked[address].busy = true
	}
	return addresses
}

// ask joins whoever is at an address, and reports whether somebody is.
//
// Two members that have taken each other for dead need to ask twice: the first answer tells them to contradict. After several answers, a member is
// there that has another address: behind a proxy, or this one itself.
func (m *membership) ask(address string) bool {
	_, err := m.list.Join([]string{address})
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.asked[address]
	q.busy = false
	if err != nil {
		q.answers = 0
	} else if q.answers++; q.answers >= maxAnswers {
		q.next = time.Now().Add(lookupPause)
	}
	return err == nil
}

// drain tells the other members that this one is draining. It waits until some know.
func (m *membership) drain() {
	m.drained.Do(func() {
		m.draining.Store(true)
		_ = m.list.UpdateNode(leaveTime)
	})
}

// stop leaves, if that is wanted. A member that leaves drains before, so that the others know that it is not dead.
func (m *membership) stop(leave bool) {
	m.close()
	if leave {
		m.drain()
		if err := m.list.Leave(leaveTime); err != nil {
			m.log.Debug("the other nodes may find out late that this one has left", "error", err)
		}
	}
	m.tasks.Wait()
	_ = m.list.Shutdown()
}

// delegate is what memberlist calls, with its lock held.
type delegate membership

func (d *delegate) NodeMeta(int) []byte {
	meta, _ := proto.Marshal(&clusterv1.Member{Version: version, Name: d.config.Name, Remote: d.addresses[1].String(), Relay: d.addresses[2].String(), Draining: d.draining.Load()})
	return meta
}

func (*delegate) NotifyMsg([]byte)                {}
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (*delegate) LocalState(bool) []byte          { return nil }
func (*delegate) MergeRemoteState([]byte, bool)   {}

func (d *delegate) NotifyConflict(_, other *memberlist.Node) {
	if ok, _ := d.limiter.Allow("conflict"); ok {
		d.log.Error("two processes of the cluster have the same id", "id", other.Name, "other", other.Address())
	}
	if other.Name == d.self {
		d.taken.Store(true)
	}
}

func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.NotifyJoin(n) }

func (d *delegate) NotifyJoin(n *memberlist.Node) {
	if n.Name == d.self {
		return
	}
	var meta clusterv1.Member
	id, err := parseID(n.Name)
	if err == nil {
		err = proto.Unmarshal(n.Meta, &meta)
	}
	d.mu.Lock()
	d.present[n.Address()] = n.Name
	if meta.Draining {
		d.leaving[n.Name] = true
	}
	delete(d.former, n.Address())
	d.mu.Unlock()
	if err == nil && meta.Version != version {
		err = fmt.Errorf("its version is %d, and that of this node %d", meta.Version, version)
	}
	if err != nil {
		if ok, _ := d.limiter.Allow("member " + n.Name); ok {
			d.log.Warn("nothing is sent to a member of the cluster", "id", logs.Clip(n.Name), "address", n.Address(), "error", logs.Error(err))
		}
		return
	}
	d.joined(member{id: id, name: meta.Name, draining: meta.Draining}, meta.Remote, meta.Relay)
}

func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if n.Name == d.self {
		return
	}
	d.mu.Lock()
	dead := !d.leaving[n.Name] // memberlist knows better, but does not tell
	delete(d.leaving, n.Name)
	if d.present[n.Address()] == n.Name { // and no other process has come in its place
		delete(d.present, n.Address())
		if dead && len(d.former) < maxFormer {
			d.former[n.Address()] = time.Now().Add(formerTime)
		}
	}
	d.mu.Unlock()
	if id, err := parseID(n.Name); err == nil {
		d.left(id)
	}
}

func parseID(name string) (backplane.NodeID, error) {
	b, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil || len(b) != 4 {
		return 0, errors.New("its name is not an id")
	}
	return backplane.NodeIDFrom([4]byte(b)), nil
}

// gossipLog passes on what memberlist logs: what is wrong as warnings, a limited number of each kind.
func gossipLog(to *slog.Logger, limiter *logs.Limiter) *log.Logger {
	return log.New(gossipLogger{to, limiter}, "", 0)
}

type gossipLogger struct {
	to      *slog.Logger
	limiter *logs.Limiter
}

func (l gossipLogger) Write(line []byte) (int, error) {
	level, text := slog.LevelDebug, string(bytes.TrimSpace(line))
	if before, after, ok := strings.Cut(text, "] memberlist: "); ok {
		text = after
		if before == "[ERR" || before == "[WARN" {
			level = slog.LevelWarn
		}
	}
	kind, _, _ := strings.Cut(text, ":")
	if ok, unlogged := l.limiter.Allow("gossip " + kind[:min(len(kind), 24)]); ok || level == slog.LevelDebug {
		l.to.Log(context.Background(), level, "gossip of the cluster", append([]any{"text", logs.Clip(text)}, unlogged...)...)
	}
	return len(line), nil
}
