package cluster

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// flushFor is how long Stop waits for other nodes to acknowledge what they have been sent.
const flushFor = time.Second

// Backplane joins the Systems of a cluster.
type Backplane struct {
	settings settings
	hashes   hashes
	started  atomic.Bool
	node     atomic.Pointer[node] // nil: not started
	stopped  atomic.Bool
}

var (
	_ backplane.Backplane = (*Backplane)(nil)
	_ backplane.Secrets   = (*Backplane)(nil)
	_ backplane.Drainer   = (*Backplane)(nil)

	_ backplane.LossCounter = (*Backplane)(nil)
)

func newBackplane(s settings) *Backplane {
	for _, key := range s.keys {
		s.topicKeys = append(s.topicKeys, secret(key, "topics"))
	}
	if s.draw == nil {
		s.draw = func() backplane.NodeID { return 1 + backplane.NodeID(rand.Uint32N(math.MaxUint32)) } // 0 may mean none
	}
	return &Backplane{settings: s, hashes: hashes{key: s.topicKeys[0], seed: maphash.MakeSeed()}}
}

var errStarted = errors.New("cluster: the Backplane belongs to another System already, or has belonged to one: each needs one of its own")

// Start joins the cluster. A node that cannot be reached for three seconds is not waited for. What has failed can be tried again.
func (b *Backplane) Start(ctx context.Context, host backplane.Host) (backplane.NodeID, error) {
	if b.started.Swap(true) {
		return 0, errStarted
	}
	unused := host.ActorSystem()
	if unused != nil && checkUnused(unused) != nil {
		unused = nil
	}
	for {
		n := newNode(ctx, &b.settings, host)
		err := n.start(ctx)
		if err == nil {
			b.node.Store(n)
			close(n.serving) // the host may call back
			return n.id, nil
		}
		// The cluster has to be left also when ctx has ended.
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushFor)
		err = errors.Join(err, n.stop(stopping))
		cancel()
		if unused != nil {
			leaveUnused(unused)
		}
		if !errors.Is(err, errTaken) || ctx.Err() != nil {
			b.started.Store(false)
			return 0, err
		}
	}
}

// Subscribe says that this node wants a topic.
func (b *Backplane) Subscribe(topic string) <-chan struct{} {
	n := b.node.Load()
	var known <-chan struct{}
	for _, key := range b.settings.topicKeys { // a node with another key looks for the hash that it makes
		known = n.subs.add(hashTopic(key, topic))
	}
	n.signal()
	return known
}

// Unsubscribe says that this node does not want a topic any more.
func (b *Backplane) Unsubscribe(topic string) {
	n := b.node.Load()
	for _, key := range b.settings.topicKeys {
		n.subs.remove(hashTopic(key, topic))
	}
	n.signal()
}

// Wanted reports whether another node may want a topic.
func (b *Backplane) Wanted(topic string) bool { return b.node.Load().topics.wanted(b.hashes.of(topic)) }

// Publish queues a message for all other nodes that want the topic. Of several nodes that are slow, the room of the slowest is returned.
func (b *Backplane) Publish(topic string, message []byte) (room <-chan struct{}, err error) {
	if len(message) > b.settings.maxMessage {
		return nil, &backplane.TooLargeError{Size: len(message), Limit: b.settings.maxMessage}
	}
	var buf [8]*link
	h := b.hashes.of(topic)
	links := b.node.Load().topics.find(h, buf[:0])
	if len(links) == 0 {
		return nil, nil
	}
	var pieces [1]*clusterv1.Publication
	most, p := 0, split([]byte(topic), message, pieces[:0])
	for _, l := range links {
		if r, weight := l.publish(p, h); r != nil && weight > most {
			room, most = r, weight
		}
	}
	return room, nil
}

// Lose counts a message that nodes miss that want a topic and are not up.
func (b *Backplane) Lose(topic string) {
	var buf [8]*link
	for _, l := range b.node.Load().topics.find(b.hashes.of(topic), buf[:0]) {
		l.lack()
	}
}

// Secrets derives 32 bytes from each key of the cluster.
func (b *Backplane) Secrets(purpose string) [][]byte {
	var all [][]byte
	for _, key := range b.settings.keys {
		all = append(all, secret(key, "host "+purpose))
	}
	return all
}

func secret(key []byte, purpose string) []byte {
	k, err := hkdf.Key(sha256.New, key, nil, "troupe cluster: "+purpose, 32)
	if err != nil { // only if more bytes are asked for than there can be
		panic(err)
	}
	return k
}

// Nodes returns the other nodes.
func (b *Backplane) Nodes() (nodes []backplane.Node) {
	for _, l := range b.node.Load().all() {
		l.mu.Lock()
		if l.isMember && !l.closed {
			nodes = append(nodes, backplane.Node{ID: l.peer, Name: l.member.name, Up: l.up})
		}
		l.mu.Unlock()
	}
	return nodes
}

// Relay has another node answer a request.
func (b *Backplane) Relay(id backplane.NodeID, w http.ResponseWriter, r *http.Request) error {
	n := b.node.Load()
	if l := n.link(id); l == nil || !l.isUp() {
		return fmt.Errorf("cluster: the node %s cannot be reached", id)
	}
	return n.network.relay(id, w, r)
}

// Drain tells the other nodes that this one opens no connections any more.
func (b *Backplane) Drain() { b.node.Load().network.drain() }

// Stop leaves the cluster when the other nodes have acknowledged what they have been sent, but waits no longer than a second for that. After it,
// nothing is wanted and nothing is sent.
func (b *Backplane) Stop(ctx context.Context) error {
	n := b.node.Load()
	if n == nil || b.stopped.Swap(true) {
		return nil
	}
	flushing, cancel := context.WithTimeout(ctx, flushFor)
	defer cancel()
	n.flush(flushing)
	return n.stop(ctx)
}
