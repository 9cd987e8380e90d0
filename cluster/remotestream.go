package cluster

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/troupe-go/troupe/internal/logs"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// outbound is the stream on which messages go to a peer. It is used by the actor of remote that writes.
type outbound struct {
	grpc.ClientStream
	r       *remoting
	address string
	cancel  context.CancelFunc
	ended   chan struct{} // closed when the peer has read everything, or is gone
	once    sync.Once
}

// open waits until a peer can be reached, and opens a stream to it.
func (r *remoting) open(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	forget := context.AfterFunc(r.closing, cancel)
	late := time.AfterFunc(connectTime, cancel)
	s, err := streamer(ctx, desc, cc, method, append(opts, grpc.WaitForReady(true))...)
	late.Stop()
	if err != nil {
		forget()
		cancel()
		return nil, err
	}
	return &outbound{ClientStream: s, r: r, address: cc.Target(), ended: make(chan struct{}), cancel: func() { forget(); cancel() }}, nil
}

// SendMsg sends a batch in parts that the peer takes. Of several messages that are too large together, only the stream would be left.
func (s *outbound) SendMsg(m any) error {
	batch := m.(*remote.RemoteMessage).GetMessageBatch()
	if batch == nil {
		return s.ClientStream.SendMsg(m)
	}
	for rest := batch.Envelopes; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size+len(rest[n].MessageData) <= batchBytes) {
			size += len(rest[n].MessageData)
			n++
		}
		part := &remote.MessageBatch{TypeNames: batch.TypeNames, Targets: batch.Targets, Senders: batch.Senders, Envelopes: rest[:n]}
		rest = rest[n:]
		if size > s.r.limit {
			s.r.counts.oversize.Add(1)
			s.r.warn("a message to another node is larger than Config.MaxMessage, and is lost", batch.TypeNames[part.Envelopes[0].TypeId], batch.Targets[part.Envelopes[0].Target])
		} else if err := s.ClientStream.SendMsg(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: part}}); err != nil {
			return err
		}
		frames := 0
		for _, e := range part.Envelopes {
			if batch.TypeNames[e.TypeId] == frameType {
				frames++
			}
		}
		if frames > 0 {
			s.r.sent(s.address, frames)
		}
	}
	return nil
}

// RecvMsg waits for the end of the stream, besides the answer to its first message.
func (s *outbound) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.once.Do(func() { close(s.ended) })
		s.cancel()
	}
	return err
}

// CloseSend waits for the peer to read what it was sent, because remote closes the connection next.
func (s *outbound) CloseSend() error {
	err := s.ClientStream.CloseSend()
	late := time.NewTimer(handoverTime)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
	case <-s.r.closing.Done():
	}
	s.cancel()
	return err
}

// inbound is a stream on which messages arrive.
type inbound struct {
	grpc.ServerStream
	r      *remoting
	system string // the actor system that sends; empty: it has not said so yet

	delivering bool       // between a RecvMsg that has returned a batch and the next one
	turn       sync.Mutex // held meanwhile
	replaced   bool       // the sender has opened another stream; guarded by turn
}

// accept handles a stream, and ends that stream alone if a panic is caused by what arrives.
func (r *remoting) accept(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	s := &inbound{ServerStream: ss, r: r}
	defer func() {
		if reason := recover(); reason != nil {
			if ok, _ := r.limiter.Allow("panic"); ok {
				r.log.Error("a message from another node has caused a panic", "error", fmt.Sprint(reason), "stack", string(debug.Stack()))
			}
			err = status.Error(codes.Internal, "panic")
		}
		s.delivered()
		r.mu.Lock()
		if r.incoming[s.system] == s {
			delete(r.incoming, s.system)
		}
		r.mu.Unlock()
	}()
	return handler(srv, s)
}

// refuse is for calls that remote has and that panic.
func refuse(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
	return nil, status.Error(codes.Unimplemented, "nodes do not answer this")
}

func (s *inbound) delivered() {
	if s.delivering {
		s.delivering = false
		s.turn.Unlock()
	}
}

// RecvMsg returns the next message, without what the node does not take from others.
func (s *inbound) RecvMsg(m any) error {
	s.delivered()
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	message := m.(*remote.RemoteMessage)
	if connect := message.GetConnectRequest().GetServerConnection(); connect != nil {
		return s.begin(connect.SystemId)
	}
	batch := message.GetMessageBatch()
	if batch == nil {
		return nil
	}
	if s.system == "" {
		return status.Error(codes.FailedPrecondition, "the sender has not said who it is")
	}
	s.turn.Lock()
	s.delivering = true
	if s.replaced {
		return status.Error(codes.Aborted, "the sender has another stream")
	}
	s.r.filter(batch)
	return nil
}

// begin takes the place of the stream that the same sender had before. What has arrived on that one is delivered before anything of this one, or
// never.
func (s *inbound) begin(system string) error {
	if system == "" || s.system != "" {
		return status.Error(codes.InvalidArgument, "the sender says who it is, once")
	}
	s.system = system
	s.r.mu.Lock()
	before := s.r.incoming[system]
	s.r.incoming[system] = s
	s.r.mu.Unlock()
	if before != nil {
		before.turn.Lock()
		before.replaced = true
		before.turn.Unlock()
	}
	return nil
}

var (
	frameType = nameOf((*clusterv1.Frame)(nil))

	// Actors of other nodes can be watched. They cannot be stopped.
	watchTypes   = []string{nameOf((*actor.Watch)(nil)), nameOf((*actor.Unwatch)(nil)), nameOf((*actor.Terminated)(nil))}
	refusedTypes = []string{nameOf((*actor.Stop)(nil)), nameOf((*actor.PoisonPill)(nil))}
)

func nameOf(m proto.Message) string { return string(proto.MessageName(m)) }

// filter drops the messages of a batch that remote would panic at or end the stream for, such as those of a type that only a newer version has,
// and those that no other node has any reason to send.
func (r *remoting) filter(b *remote.MessageBatch) {
	types := make([]protoreflect.MessageType, len(b.TypeNames)) // nil: refused
	for i, name := range b.TypeNames {
		if t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name)); err == nil && !slices.Contains(refusedTypes, name) {
			types[i] = t
		}
	}
	kept := b.Envelopes[:0]
	for _, e := range b.Envelopes {
		if r.allowed(b, e, types) {
			kept = append(kept, e)
			continue
		}
		r.counts.refused.Add(1)
		r.warn("a message from another node is refused", at(b.TypeNames, e.TypeId), at(b.Targets, e.Target))
	}
	b.Envelopes = kept
}

func (r *remoting) allowed(b *remote.MessageBatch, e *remote.MessageEnvelope, types []protoreflect.MessageType) bool {
	target, kind := at(b.Targets, e.Target), at(types, e.TypeId)
	if kind == nil || target == nil || target.Address != r.system.Address() || e.SerializerId != 0 || e.Sender != 0 && at(b.Senders, e.Sender-1) == nil {
		return false
	}
	if target.Id == "eventstream" || strings.HasPrefix(target.Id, "EndpointSupervisor") {
		return false
	}
	if !slices.Contains(watchTypes, b.TypeNames[e.TypeId]) {
		return true
	}
	m := kind.New().Interface()
	if proto.Unmarshal(e.MessageData, m) != nil {
		return false
	}
	switch m := m.(type) {
	case *actor.Watch:
		return m.Watcher != nil
	case *actor.Unwatch:
		return m.Watcher != nil
	case *actor.Terminated:
		return m.Who != nil
	}
	return false
}

// at returns an element, or the zero value if there is none.
func at[T any](all []T, i int32) (one T) {
	if i >= 0 && int(i) < len(all) {
		return all[i]
	}
	return one
}

func (r *remoting) warn(what, kind string, target *actor.PID) {
	if ok, missed := r.limiter.Allow(what); ok {
		r.log.Warn(what, "type", logs.Clip(kind), "target", logs.Clip(target.GetId()), "unlogged", missed)
	}
}
