package cluster

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

func pair(t *testing.T) (a, b *testNode) {
	t.Helper()
	a = start(t, nil, nil)
	b = start(t, nil, nil, a)
	meet(t, a, b)
	return a, b
}

func TestFramesArriveInOrderBothWays(t *testing.T) {
	t.Parallel()
	const n = 10_000
	a, b := pair(t)
	numbers := make([]uint64, n)
	began := time.Now()
	for i := range numbers {
		numbers[i] = uint64(i + 1)
		a.sendNumber(b, numbers[i])
		b.sendNumber(a, numbers[i])
	}
	b.gets(t, a, numbers...)
	a.gets(t, b, numbers...)
	t.Logf("%d frames each way in %s", n, time.Since(began))
	assert.Zero(t, a.seen.lost[b.id])
}

func TestLargeFramesPass(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	const size = 20 << 20
	began := time.Now()
	a.sendNumber(b, 1)
	a.sendLarge(b, size)
	a.sendNumber(b, 2)
	b.sees(t, "three frames", func(s *watcher) bool { return len(s.sizes) == 3 })
	t.Logf("a frame of 20 MB in %s", time.Since(began))
	assert.GreaterOrEqual(t, b.seen.sizes[1], size)
	assert.Zero(t, a.seen.lost[b.id])
}

func TestFramesBeyondTheLimitAreLostAlone(t *testing.T) {
	t.Parallel()
	small := func(c *Config) { c.MaxMessage = leastMessage }
	a := start(t, nil, small)
	b := start(t, nil, small, a)
	meet(t, a, b)
	a.sendNumber(b, 1)
	for range 3 { // together they are more than a peer takes at once
		a.sendLarge(b, leastMessage)
	}
	a.sendLarge(b, 3*leastMessage)
	a.sendNumber(b, 2)
	b.gets(t, a, 1, 0, 0, 0, 2)
	assert.EqualValues(t, 1, a.counts.oversize.Load())
	assert.Zero(t, a.seen.lost[b.id])
}

func TestFramesOfStrangersAndForOthersAreDropped(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.send(b.id, &clusterv1.Frame{From: uint32(a.id), To: uint32(b.id) + 1})
	a.send(b.id, &clusterv1.Frame{From: uint32(a.id) + 1, To: uint32(b.id)})
	a.send(a.id+b.id, &clusterv1.Frame{}) // there is no such member
	a.sendNumber(b, 1)
	b.gets(t, a, 1)
	assert.EqualValues(t, 1, b.counts.misdirected.Load())
	assert.EqualValues(t, 1, b.counts.strange.Load())
}

// A node that is busy with the frames of one member handles those of another one.
func TestMembersDoNotHoldUpEachOther(t *testing.T) {
	t.Parallel()
	a := open(t, nil, nil)
	var slow atomic.Uint32
	held, letGo := make(chan struct{}), make(chan struct{})
	a.seen.hold = func(from backplane.NodeID) {
		if uint32(from) == slow.Load() {
			slow.Store(0)
			close(held)
			<-letGo
		}
	}
	require.NoError(t, a.join(t.Context()))
	b := start(t, nil, nil, a)
	c := start(t, nil, nil, a)
	meet(t, a, b, c)
	slow.Store(uint32(b.id))
	b.sendNumber(a, 1)
	<-held
	c.sendNumber(a, 1)
	a.gets(t, c, 1)
	close(letGo)
	a.gets(t, b, 1)
}

// stranger is a client of a node's remote that need not keep to any rule.
type stranger struct {
	t    *testing.T
	cc   *grpc.ClientConn
	to   *testNode
	name string
}

func connect(t *testing.T, to *testNode, name string, c credentials.TransportCredentials) *stranger {
	cc, err := grpc.NewClient(to.system.Address(), grpc.WithTransportCredentials(c))
	require.NoError(t, err)
	t.Cleanup(func() { cc.Close() })
	return &stranger{t, cc, to, name}
}

// send opens a stream, says who it is, if it has a name, and sends messages. It returns the stream and the error that it has ended with, if it has.
func (s *stranger) send(batches ...*remote.MessageBatch) (remote.Remoting_ReceiveClient, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	s.t.Cleanup(cancel)
	stream, err := remote.NewRemotingClient(s.cc).Receive(ctx)
	if err != nil {
		return nil, err
	}
	if s.name != "" {
		_ = stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
			ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{SystemId: s.name, Address: "127.0.0.1:1"}}}}})
		if _, err := stream.Recv(); err != nil {
			return nil, err
		}
	}
	for _, batch := range batches {
		if err := stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: batch}}); err != nil {
			_, err = stream.Recv()
			return nil, err
		}
	}
	return stream, nil
}

func (s *stranger) batch(kind string, m proto.Message, id string) *remote.MessageBatch {
	data, err := proto.Marshal(m)
	require.NoError(s.t, err)
	return &remote.MessageBatch{TypeNames: []string{kind}, Targets: []*actor.PID{actor.NewPID(s.to.system.Address(), id)}, Envelopes: []*remote.MessageEnvelope{{MessageData: data}}}
}

func nodeCredentials(t *testing.T, key []byte) credentials.TransportCredentials {
	c, err := keyTLS([][]byte{key}, "troupe")
	require.NoError(t, err)
	return credentials.NewTLS(c)
}

// What a node with the key sends by mistake, or as a newer version, is dropped: its other messages arrive, and those of others do.
func TestMessagesThatWouldCrashRemoteAreDropped(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	got := make(chan string, 100)
	props := actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *wrapperspb.StringValue:
			got <- m.Value
		case *actor.Stopped:
			got <- "stopped"
		}
	})
	_, err := a.system.Root.SpawnNamed(props, "victim")
	require.NoError(t, err)
	s := connect(t, a, "system", nodeCredentials(t, testKey))
	text := nameOf(wrapperspb.String(""))
	nobody := wrapperspb.String("nobody gets this")

	bad := map[string]*remote.MessageBatch{
		"an unknown type":           s.batch("my.NewerMessage", nobody, "victim"),
		"no type":                   {TypeNames: nil, Targets: []*actor.PID{actor.NewPID(a.system.Address(), "victim")}, Envelopes: []*remote.MessageEnvelope{{}}},
		"a stop":                    s.batch("actor.Stop", &actor.Stop{}, "victim"),
		"a poison pill":             s.batch("actor.PoisonPill", &actor.PoisonPill{}, "victim"),
		"a watch by nobody":         s.batch("actor.Watch", &actor.Watch{}, "victim"),
		"an end of nobody":          s.batch("actor.Terminated", &actor.Terminated{}, "victim"),
		"the event stream":          s.batch(text, nobody, "eventstream"),
		"a target at another place": {TypeNames: []string{text}, Targets: []*actor.PID{actor.NewPID("127.0.0.1:1", "victim")}, Envelopes: []*remote.MessageEnvelope{{}}},
	}
	for what, change := range map[string]func(*remote.MessageEnvelope){
		"a type beyond the last":    func(e *remote.MessageEnvelope) { e.TypeId = 1 },
		"a negative type":           func(e *remote.MessageEnvelope) { e.TypeId = -1 },
		"a target beyond the last":  func(e *remote.MessageEnvelope) { e.Target = 7 },
		"a negative target":         func(e *remote.MessageEnvelope) { e.Target = -1 },
		"a sender that is missing":  func(e *remote.MessageEnvelope) { e.Sender = 1 },
		"a negative sender":         func(e *remote.MessageEnvelope) { e.Sender = -7 },
		"an unknown serializer":     func(e *remote.MessageEnvelope) { e.SerializerId = 99 },
		"the serializer for JSON":   func(e *remote.MessageEnvelope) { e.SerializerId = 1 },
		"the lowest possible index": func(e *remote.MessageEnvelope) { e.Sender = -1 << 31 },
		"what cannot be decoded":    func(e *remote.MessageEnvelope) { e.MessageData = []byte{0xff} },
	} {
		one := s.batch(text, nobody, "victim")
		change(one.Envelopes[0])
		bad[what] = one
	}
	for what, batch := range bad {
		before := a.counts.refused.Load()
		stream, err := s.send(batch, s.batch(text, wrapperspb.String("after "+what), "victim"))
		require.NoError(t, err)
		assert.Equal(t, "after "+what, <-got)
		assert.Equal(t, before+1, a.counts.refused.Load(), what)
		_ = stream.CloseSend()
		_, err = stream.Recv()
		assert.Equal(t, io.EOF, err, what)
	}
	talk(t, a, b)

	client := remote.NewRemotingClient(s.cc)
	_, err = client.ListProcesses(t.Context(), &remote.ListProcessesRequest{})
	assert.Equal(t, codes.Unimplemented, status.Code(err))
	_, err = client.GetProcessDiagnostics(t.Context(), &remote.GetProcessDiagnosticsRequest{})
	assert.Equal(t, codes.Unimplemented, status.Code(err))
	talk(t, a, b)
	assert.Empty(t, got)
}

func TestPanicsOfStreamsEndOneStream(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	s := connect(t, a, "system", nodeCredentials(t, testKey))
	a.seen.hold = nil
	a.system.ProcessRegistry.Add(panics{}, "panics")
	stream, err := s.send(s.batch(nameOf(wrapperspb.String("")), wrapperspb.String(""), "panics"))
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, codes.Internal, status.Code(err))
	talk(t, a, b)
}

type panics struct{ actor.Process }

func (panics) SendUserMessage(*actor.PID, any) { panic("on purpose") }

func TestStrangersCannotSendMessages(t *testing.T) {
	t.Parallel()
	a := start(t, nil, nil)
	for name, c := range map[string]credentials.TransportCredentials{
		"without TLS":         insecure.NewCredentials(),
		"with another key":    nodeCredentials(t, bytes.Repeat([]byte("x"), leastKey)),
		"without certificate": credentials.NewTLS(withoutCertificate(t)),
	} {
		stream, err := connect(t, a, "system", c).send()
		if err == nil {
			_, err = stream.Recv()
		}
		assert.Equal(t, codes.Unavailable, status.Code(err), "%s: %v", name, err)
	}
	nameless := connect(t, a, "", nodeCredentials(t, testKey))
	stream, err := nameless.send(nameless.batch(nameOf(&clusterv1.Frame{}), &clusterv1.Frame{}, nodeActor))
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, codes.FailedPrecondition, status.Code(err))
}

// What a member has sent on a connection that it has given up cannot overtake what it has sent on the next one.
func TestAStreamEndsTheOneBefore(t *testing.T) {
	t.Parallel()
	a := start(t, nil, nil)
	s := connect(t, a, "system", nodeCredentials(t, testKey))
	first, err := s.send()
	require.NoError(t, err)
	_, err = s.send()
	require.NoError(t, err)
	require.NoError(t, first.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: s.batch(nameOf(&clusterv1.Frame{}), &clusterv1.Frame{}, nodeActor)}}))
	_, err = first.Recv()
	assert.Equal(t, codes.Aborted, status.Code(err))
	assert.Zero(t, a.counts.misdirected.Load())
}

// Applications send messages to actors of other nodes, and watch them.
func TestActorsOfOtherNodesCanBeAskedAndWatchedButNotStopped(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	far, err := a.system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
		if m, ok := c.Message().(*wrapperspb.StringValue); ok {
			c.Respond(wrapperspb.String("re: " + m.Value))
		}
	}), "far")
	require.NoError(t, err)
	there := actor.NewPID(a.system.Address(), "far")
	answer := func() {
		got, err := b.system.Root.RequestFuture(there, wrapperspb.String("hello"), testTime).Result()
		require.NoError(t, err)
		assert.Equal(t, "re: hello", got.(*wrapperspb.StringValue).GetValue())
	}
	answer()
	ended, watching := make(chan *actor.Terminated, 1), make(chan struct{})
	b.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Watch(there)
			close(watching)
		case *actor.Terminated:
			ended <- m
		}
	}))
	<-watching
	b.system.Root.Stop(actor.NewPID(a.system.Address(), "far"))
	answer()
	require.Eventually(t, func() bool { return a.counts.refused.Load() == 1 }, testTime, time.Millisecond)
	a.system.Root.Stop(far)
	assert.Equal(t, "far", (<-ended).Who.Id)
}

func TestMessagesAfterTheEndAreDeadLetters(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	talk(t, a, b)
	stopNode(t, a)
	a.sendNumber(b, 1)
	_, err := a.system.Root.RequestFuture(actor.NewPID(b.system.Address(), "nobody"), wrapperspb.String(""), testTime).Result()
	assert.ErrorIs(t, err, actor.ErrDeadLetter)
	_, err = a.system.Root.RequestFuture(actor.NewPID("127.0.0.1:1", "nobody"), wrapperspb.String(""), testTime).Result()
	assert.ErrorIs(t, err, actor.ErrDeadLetter)
	require.NoError(t, a.stop(t.Context()))
}

// What was given to a node before it stops goes out.
func TestStopSendsWhatIsQueued(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	const n = 1000
	numbers := make([]uint64, n)
	for i := range numbers {
		numbers[i] = uint64(i + 1)
		a.sendNumber(b, numbers[i])
	}
	stopNode(t, a)
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	assert.Equal(t, numbers, b.seen.numbers[a.id])
}

// A node leaves, and says so, although there are messages for one that has died.
func TestStopDoesNotWaitForTheDead(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.cut.set(b, true)
	a.sendNumber(b, 1)
	begin := time.Now()
	stopNode(t, a)
	assert.Less(t, time.Since(begin), connectTime*2/3)
}

func TestUsedActorSystemsAreRefused(t *testing.T) {
	t.Parallel()
	config := Config{Bind: "127.0.0.1:0", Key: testKey}.withDefaults()
	used := newSystem()
	_, err := used.Root.SpawnNamed(actor.PropsFromFunc(func(actor.Context) {}), "early")
	require.NoError(t, err)
	_, err = newWire(config, used, 1, nil, newWatcher())
	assert.ErrorContains(t, err, `the actor system has actors already, such as "early"`)

	a := open(t, nil, nil)
	_, err = newWire(config, a.system, 1, nil, newWatcher())
	assert.ErrorContains(t, err, "has a remote already")
}
