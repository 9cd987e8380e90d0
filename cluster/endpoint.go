package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// delivery is a message on its way to an actor of another node.
type delivery struct {
	kind               string
	data               []byte
	target, sender     *actor.PID
	header             map[string]string
	watcher, unwatcher *actor.PID // that of a Watch or an Unwatch
}

// size is how many bytes it takes, about.
func (d *delivery) size() int {
	const rest = 256
	return len(d.data) + len(d.kind) + len(d.target.Id) + len(d.sender.GetId()) + rest
}

func newDelivery(target *actor.PID, header actor.ReadonlyMessageHeader, message any, sender *actor.PID) (*delivery, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, errors.New("only messages of protobuf can be sent to other nodes")
	}
	d := &delivery{kind: nameOf(m), target: target, sender: sender}
	valid := utf8.ValidString(target.Id) && utf8.ValidString(sender.GetId())
	if header != nil && header.Length() > 0 {
		d.header = header.ToMap()
		for name, value := range d.header {
			valid = valid && utf8.ValidString(name) && utf8.ValidString(value)
		}
	}
	if !valid {
		return nil, errors.New("its headers, or the name of an actor, are not valid UTF-8: a batch with them could not be encoded")
	}
	var err error
	d.data, err = proto.Marshal(m)
	return d, err
}

// endpoint is the connection on which messages go to an address. It is made when there is one to send, and ends with the first error; then all that
// has not been sent is lost, and the address gets another endpoint when it needs one.
type endpoint struct {
	r       *remoting
	address string
	wake    chan struct{}
	ctx     context.Context // ends with the endpoint
	cancel  context.CancelFunc

	mu       sync.Mutex
	queue    []*delivery
	bytes    int // in queue
	closed   bool
	finished bool                    // it closes when the queue is empty
	met      bool                    // the peer has answered
	watched  map[watching]*actor.PID // the watchers of actors there
}

// watching says who watches whom.
type watching struct{ watcher, watchee string }

// push queues a message. It returns false if the endpoint has ended.
func (e *endpoint) push(d *delivery) bool {
	e.mu.Lock()
	if e.closed || e.finished {
		e.mu.Unlock()
		return false
	}
	if d.watcher != nil {
		if e.watched == nil {
			e.watched = map[watching]*actor.PID{}
		}
		e.watched[watching{d.watcher.Id, d.target.Id}] = d.watcher
	}
	if d.unwatcher != nil {
		delete(e.watched, watching{d.unwatcher.Id, d.target.Id})
	}
	e.queue = append(e.queue, d)
	e.bytes += d.size()
	full := e.bytes > 2*e.r.limit // the messages of a peer that takes nothing
	e.mu.Unlock()
	if full {
		e.end(fmt.Errorf("more than %d bytes wait for it", 2*e.r.limit))
	}
	e.stir()
	return true
}

func (e *endpoint) stir() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// next returns messages to send together, if there are any. There are no more to come when the endpoint is to end.
func (e *endpoint) next() (batch []*delivery, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.finished && len(e.queue) == 0 {
		return nil, false
	}
	size := 0
	for len(batch) < len(e.queue) {
		one := e.queue[len(batch)].size()
		if len(batch) > 0 && size+one > batchBytes {
			break
		}
		size += one
		batch = append(batch, e.queue[len(batch)])
	}
	e.queue, e.bytes = e.queue[len(batch):], e.bytes-size
	if len(e.queue) == 0 {
		e.queue = nil
	}
	return batch, true
}

// run connects, and sends what is queued until the connection ends.
func (e *endpoint) run() {
	cc, err := grpc.NewClient("passthrough:///"+e.address, e.r.options...)
	if err == nil {
		err = e.use(cc)
		_ = cc.Close()
	}
	e.end(err)
}

func (e *endpoint) use(cc *grpc.ClientConn) error {
	late := time.AfterFunc(connectTime, e.cancel)
	stream, err := remote.NewRemotingClient(cc).Receive(e.ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	self := &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{SystemId: e.r.system.ID, Address: e.r.system.Address()}}
	if err = stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{ConnectionType: self}}}); err == nil {
		_, err = stream.Recv()
	}
	late.Stop()
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.met = true
	e.mu.Unlock()
	e.r.system.EventStream.Publish(&remote.EndpointConnectedEvent{Address: e.address})
	ended := make(chan error, 1)
	e.r.tasks.Go(func() {
		_, err := stream.Recv() // nothing else is to come
		ended <- err
	})
	for {
		batch, more := e.next()
		if !more {
			_ = stream.CloseSend()
			defer time.AfterFunc(handoverTime, e.cancel).Stop()
			return <-ended // when the peer has read everything
		}
		if len(batch) > 0 {
			if err := stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: pack(batch)}}); err != nil {
				return err
			}
			continue
		}
		select {
		case <-e.wake:
		case err := <-ended:
			return err
		}
	}
}

// end closes the endpoint. Who waits for an answer, or watches an actor there, is told.
func (e *endpoint) end(err error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	lost, watched, finished := e.queue, e.watched, e.finished && len(e.queue) == 0
	e.queue, e.watched = nil, nil
	e.mu.Unlock()
	e.cancel()
	e.r.ended(e)
	for _, d := range lost {
		if d.sender != nil {
			e.r.system.Root.Send(d.sender, &actor.DeadLetterResponse{Target: d.target})
		}
	}
	for w, watcher := range watched {
		e.r.tell(watcher, &actor.Terminated{Who: actor.NewPID(e.address, w.watchee), Why: actor.TerminatedReason_AddressTerminated})
	}
	if !finished {
		e.r.log.Debug("a connection to another node has ended", "address", e.address, "error", err, "lost", len(lost))
		e.r.system.EventStream.Publish(&remote.EndpointTerminatedEvent{Address: e.address})
		e.r.broken(e.address)
	}
}

// finish has the endpoint end when what is queued has been sent and read.
func (e *endpoint) finish() {
	e.mu.Lock()
	e.finished = true
	if !e.met { // the peer may have died: not all the time is for it that there is to leave
		time.AfterFunc(farewellTime, e.cancel)
	}
	e.mu.Unlock()
	e.stir()
}

// unwatch forgets that an actor is watched, because it has ended.
func (e *endpoint) unwatch(watcher, watchee *actor.PID) {
	e.mu.Lock()
	delete(e.watched, watching{watcher.Id, watchee.Id})
	e.mu.Unlock()
}

// pack makes a message of several ones. Types and actors that are the same for several are in it once.
func pack(batch []*delivery) *remote.MessageBatch {
	b := &remote.MessageBatch{Envelopes: make([]*remote.MessageEnvelope, len(batch))}
	types, targets, senders := map[string]int32{}, map[[2]string]int32{}, map[[2]string]int32{}
	for i, d := range batch {
		m := &remote.MessageEnvelope{MessageData: d.data, TypeId: indexOf(types, d.kind, &b.TypeNames, d.kind)}
		m.Target, m.TargetRequestId = indexOf(targets, [2]string{d.target.Address, d.target.Id}, &b.Targets, d.target), d.target.RequestId
		if d.sender != nil { // 0 stands for none
			m.Sender, m.SenderRequestId = 1+indexOf(senders, [2]string{d.sender.Address, d.sender.Id}, &b.Senders, d.sender), d.sender.RequestId
		}
		if d.header != nil {
			m.MessageHeader = &remote.MessageHeader{HeaderData: d.header}
		}
		b.Envelopes[i] = m
	}
	for _, all := range [][]*actor.PID{b.Targets, b.Senders} {
		for i, pid := range all {
			all[i] = actor.NewPID(pid.Address, pid.Id) // without its request, which is that of one message
		}
	}
	return b
}

// indexOf returns where an element is among all, to which it is added if it is new.
func indexOf[K comparable, T any](places map[K]int32, key K, all *[]T, one T) int32 {
	i, ok := places[key]
	if !ok {
		i = int32(len(*all))
		places[key] = i
		*all = append(*all, one)
	}
	return i
}
