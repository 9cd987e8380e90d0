package cluster

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// inbound is a stream on which messages arrive from one sender.
type inbound struct {
	r *remoting

	turn     sync.Mutex // held while a batch is delivered
	replaced bool       // the sender has opened another stream
}

// Receive is part of remote.RemotingServer. A panic that is caused by what arrives ends that stream alone.
func (r *remoting) Receive(stream remote.Remoting_ReceiveServer) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			if ok, _ := r.limiter.Allow("panic"); ok {
				r.log.Error("a message from another node has caused a panic", "error", fmt.Sprint(reason), "stack", string(debug.Stack()))
			}
			err = status.Error(codes.Internal, "panic")
		}
	}()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	sender := first.GetConnectRequest().GetServerConnection().GetSystemId()
	if sender == "" {
		return status.Error(codes.FailedPrecondition, "the sender has not said who it is")
	}
	s := r.begin(sender)
	defer r.finish(sender, s)
	welcome := &remote.RemoteMessage_ConnectResponse{ConnectResponse: &remote.ConnectResponse{MemberId: r.system.ID}}
	if err := stream.Send(&remote.RemoteMessage{MessageType: welcome}); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.deliver(m.GetMessageBatch()); err != nil {
			return err
		}
	}
}

// begin makes a stream take the place of the one that the same sender had before. What has arrived on that one is delivered before anything of
// this one, or never.
func (r *remoting) begin(sender string) *inbound {
	s := &inbound{r: r}
	r.mu.Lock()
	before := r.incoming[sender]
	r.incoming[sender] = s
	r.mu.Unlock()
	if before != nil {
		before.turn.Lock()
		before.replaced = true
		before.turn.Unlock()
	}
	return s
}

func (r *remoting) finish(sender string, s *inbound) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.incoming[sender] == s {
		delete(r.incoming, sender)
	}
}

// refusedTypes end actors. No other node has any reason to.
var refusedTypes = []string{nameOf((*actor.Stop)(nil)), nameOf((*actor.PoisonPill)(nil))}

func nameOf(m proto.Message) string { return string(proto.MessageName(m)) }

// deliver gives the messages of a batch to their actors, but for those that are refused, such as those of a type that only a newer version has.
func (s *inbound) deliver(b *remote.MessageBatch) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.replaced {
		return status.Error(codes.Aborted, "the sender has another stream")
	}
	types := make([]protoreflect.MessageType, len(b.GetTypeNames())) // nil: refused
	for i, name := range b.GetTypeNames() {
		if t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name)); err == nil && !slices.Contains(refusedTypes, name) {
			types[i] = t
		}
	}
	for _, e := range b.GetEnvelopes() {
		if err := s.r.take(b, e, at(types, e.TypeId)); err != nil {
			s.r.counts.refused.Add(1)
			s.r.warn("a message from another node is refused", at(b.TypeNames, e.TypeId), at(b.Targets, e.Target), err)
		}
	}
	return nil
}

// take gives a message to an actor.
func (r *remoting) take(b *remote.MessageBatch, e *remote.MessageEnvelope, kind protoreflect.MessageType) error {
	target := request(at(b.Targets, e.Target), e.TargetRequestId)
	sender := request(at(b.Senders, e.Sender-1), e.SenderRequestId)
	switch {
	case kind == nil:
		return errors.New("its type is unknown, or not one that nodes send to each other")
	case target == nil || e.Sender != 0 && sender == nil:
		return errors.New("it does not say who it is for, or who has sent it")
	case target.Address != r.system.Address() || target.Id == "eventstream":
		return errors.New("it is not for an actor of this node")
	case e.SerializerId != 0:
		return errors.New("it is not encoded as protobuf")
	}
	m := kind.New().Interface()
	if err := proto.Unmarshal(e.MessageData, m); err != nil {
		return err
	}
	switch m := m.(type) {
	case *actor.Watch:
		if m.Watcher == nil {
			return errors.New("it lacks who watches")
		}
		r.watch(target, m)
	case *actor.Unwatch:
		if m.Watcher == nil {
			return errors.New("it lacks who watches")
		}
		r.tell(target, m)
	case *actor.Terminated:
		if m.Who == nil {
			return errors.New("it lacks who has ended")
		}
		if to := r.existing(m.Who.Address); to != nil {
			to.unwatch(target, m.Who)
		}
		r.tell(target, m)
	default:
		if sender == nil && e.MessageHeader == nil {
			r.system.Root.Send(target, m)
			break
		}
		r.system.Root.Send(target, &actor.MessageEnvelope{Header: e.MessageHeader.GetHeaderData(), Message: m, Sender: sender})
	}
	return nil
}

// watch has an actor of this node watched. Of one that does not exist, the end is told at once.
func (r *remoting) watch(pid *actor.PID, m *actor.Watch) {
	process, _ := r.system.ProcessRegistry.GetLocal(pid.Id) // the dead letters, if there is none: they answer
	process.SendSystemMessage(pid, m)
}

func (r *remoting) existing(address string) *endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.endpoints[address]
}

// request returns a PID with the number of a request.
func request(pid *actor.PID, number uint32) *actor.PID {
	if pid != nil && number > 0 {
		pid = actor.NewPID(pid.Address, pid.Id)
		pid.RequestId = number
	}
	return pid
}

// at returns an element, or the zero value if there is none.
func at[T any](all []T, i int32) (one T) {
	if i >= 0 && int(i) < len(all) {
		return all[i]
	}
	return one
}
