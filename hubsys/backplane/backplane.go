// Package backplane is the seam between the Systems of a cluster: what carries messages and requests from one to the other. Package cluster
// implements it over protoactor remoting; another implementation can stand in its place, and is checked by package planetest. Applications
// only pass one to hubsys.Config.
//
// The package is experimental: it may change until there are two implementations for production.
package backplane

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/hubsys/metrics"
)

// NodeID names one life of one process in a cluster. The ids of the connections that it negotiates begin with it.
type NodeID uint32

// String returns the id as it is written in ids of connections, topics and logs.
func (n NodeID) String() string {
	b := n.Bytes()
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// MarshalText returns what String does.
func (n NodeID) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// Bytes returns the id as it stands in ids of connections.
func (n NodeID) Bytes() (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return b
}

// NodeIDFrom is the inverse of Bytes.
func NodeIDFrom(b [4]byte) NodeID { return NodeID(binary.BigEndian.Uint32(b[:])) }

// Node is a node of the cluster, as another one sees it.
type Node struct {
	ID   NodeID
	Name string // that a person gave it
	Up   bool   // it can be reached, and takes what is sent to it
}

// Backplane carries messages between the nodes of a cluster. It knows topics and bytes, and nothing of hubs.
//
// Nothing but Start, Relay and Stop waits: the other methods are called by actors, and while locks are held. All methods can be used
// concurrently once Start has returned. A message is delivered at most once. What one goroutine publishes reaches each node in that order,
// whatever the topics.
type Backplane interface {
	// Start joins the cluster. It returns the id of this node, which no other process has had for a day, when this node knows what all other
	// nodes want, and they know it. The actor system of host has no actors yet.
	Start(ctx context.Context, host Host) (NodeID, error)

	// Subscribe says that this node wants a topic. known is closed when every node that is up sends it here; nil: they do already.
	// A topic is subscribed once at a time. Its name is at most 3 KiB long.
	Subscribe(topic string) (known <-chan struct{})
	// Unsubscribe says that it does not want a topic any more that it has subscribed.
	Unsubscribe(topic string)
	// Wanted reports whether another node may want a topic. True is always right; false saves encoding what nobody wants.
	Wanted(topic string) bool
	// Publish queues a message for all other nodes that want the topic. room is nil, or closed when the sender may go on: when nodes that are
	// slow have caught up, or have ceased to take anything. The message is kept, and must not be changed afterwards. It fails with a
	// *TooLargeError, and with no other error: a node that cannot be reached is told of by Host.Changed.
	Publish(topic string, message []byte) (room <-chan struct{}, err error)

	// Nodes returns the other nodes.
	Nodes() []Node
	// Relay has another node answer a request, with Host.Serve there, however long that takes: it clears the deadlines of w. It returns ErrNoRelay if
	// the Backplane cannot do that, and an error if the node could not be reached and nothing has been written to w.
	Relay(node NodeID, w http.ResponseWriter, r *http.Request) error
	// Stop leaves the cluster when what is queued has been delivered, at the latest when ctx ends.
	Stop(ctx context.Context) error
}

// Secrets is implemented by a Backplane whose nodes share a secret.
type Secrets interface {
	// Secrets returns what all nodes of the cluster derive for a purpose, and nobody else can, each of 32 bytes. The first one protects, all of them are
	// believed, so that nodes can change what they share one after the other. It is called when Start has returned.
	Secrets(purpose string) [][]byte
}

// Meter is implemented by a Backplane that counts.
type Meter interface {
	// Metrics returns what has been counted until now, for System.Metrics.
	Metrics() []metrics.Metric
}

// LossCounter is implemented by a Backplane that counts what nodes miss that cannot be reached.
type LossCounter interface {
	// Lose says that a message was not published on a topic because no node wants that topic that can be reached. Others may want it.
	Lose(topic string)
}

// Drainer is implemented by a Backplane that tells other nodes when this one is about to leave.
type Drainer interface {
	// Drain says that this node opens no connections any more.
	Drain()
}

// Host is what a Backplane works for. Nothing but Serve waits.
type Host interface {
	// ActorSystem is the one that everything lives in.
	ActorSystem() *actor.ActorSystem
	// Receive takes a message from another node. Those of one node come one after the other, in their order. room is nil, or closed when the
	// node may send more for that topic.
	Receive(from NodeID, topic string, message []byte) (room <-chan struct{})
	// Changed says that a node has come or gone. What it had published before that has been given to Receive.
	Changed(node Node)
	// Missed says that messages that another node has published have not arrived, and will not. It is called before what has arrived behind them is
	// given to Receive. Of a node that has gone nobody knows what it had published.
	Missed(from NodeID, messages uint64)
	// Serve answers a request that another node has relayed.
	Serve(w http.ResponseWriter, r *http.Request)
}

// ErrNoRelay says that a Backplane relays no requests: clients need sticky sessions then.
var ErrNoRelay = errors.New("backplane: requests cannot be relayed to other nodes")

// TooLargeError says that a message is larger than a Backplane can carry.
type TooLargeError struct{ Size, Limit int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("backplane: a message has %d bytes, more than %d that can be sent to other nodes", e.Size, e.Limit)
}
