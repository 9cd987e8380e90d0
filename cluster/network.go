package cluster

import (
	"context"
	"net/http"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// member is a process that has joined the cluster.
type member struct {
	id       backplane.NodeID
	name     string
	draining bool // it opens no connections any more
}

// network is what links travel over. Nothing but relay and stop waits. Its methods can be used concurrently. A frame is never larger than 128 KB.
type network interface {
	// send sends a frame to a member. What cannot be sent is lost; frames that arrive do so in order, unless the member is told of as broken.
	send(to backplane.NodeID, f *clusterv1.Frame)
	// address is where members are found that want to join.
	address() string
	// ignored returns how much has arrived that this node did not take, or that could not be sent.
	ignored() uint64
	// drain tells all members that this node opens no connections any more.
	drain()
	// relay has a member answer a request.
	relay(to backplane.NodeID, w http.ResponseWriter, r *http.Request) error
	// stop leaves the cluster, so that the other members need not find out that this one has gone.
	stop(ctx context.Context) error
}

// events is what a network tells, also before it has been joined. None of its methods waits. A member is told of before its frames; others are
// ignored.
type events interface {
	// joined says that a member is there, or that what is known of it has changed. A member with the id of this node is another process that has
	// drawn the same one: if this node does not serve yet, it leaves, without the others being told that the id has left, and draws again.
	joined(m member)
	// left says that a member has gone. It may come back with the same id if it was only taken to have gone.
	left(id backplane.NodeID)
	// broken says that frames to a member may have been lost.
	broken(id backplane.NodeID)
	// frame takes a frame from a member. Those of one member come one after the other.
	frame(f *clusterv1.Frame)
}
