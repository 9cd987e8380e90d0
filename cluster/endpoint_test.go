package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

func TestBatchesHoldWhatTheyAreMadeOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pid := rapid.Custom(func(t *rapid.T) *actor.PID {
			p := actor.NewPID(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "address"), rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "id"))
			p.RequestId = rapid.Uint32Range(0, 3).Draw(t, "request")
			return p
		})
		all := rapid.SliceOf(rapid.Custom(func(t *rapid.T) *delivery {
			d := &delivery{kind: rapid.SampledFrom([]string{"k", "l"}).Draw(t, "kind"), data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"), target: pid.Draw(t, "target")}
			if rapid.Bool().Draw(t, "sent") {
				d.sender = pid.Draw(t, "sender")
			}
			return d
		})).Draw(t, "deliveries")
		b := pack(all)
		require.Len(t, b.Envelopes, len(all))
		for i, e := range b.Envelopes {
			require.Equal(t, all[i].kind, at(b.TypeNames, e.TypeId))
			require.Equal(t, all[i].data, e.MessageData)
			require.True(t, all[i].target.Equal(request(at(b.Targets, e.Target), e.TargetRequestId)))
			require.Equal(t, all[i].sender == nil, e.Sender == 0)
			require.True(t, all[i].sender == nil || all[i].sender.Equal(request(at(b.Senders, e.Sender-1), e.SenderRequestId)))
		}
		require.LessOrEqual(t, len(b.Targets), 6)
		require.LessOrEqual(t, len(b.Senders), 6)
	})
}

// A member that takes nothing is cut off before what waits for it is without limit.
func TestWhatWaitsForAMemberIsLimited(t *testing.T) {
	t.Parallel()
	small := func(c *Config) { c.MaxMessage = leastMessage }
	a := start(t, nil, small)
	b := open(t, nil, func(c *Config) {
		small(c)
		c.Seeds = []string{a.members.addresses[0].String()}
	})
	letGo := make(chan struct{})
	release := sync.OnceFunc(func() { close(letGo) })
	defer release()
	b.seen.hold = func(backplane.NodeID) { <-letGo }
	require.NoError(t, b.join(t.Context()))
	meet(t, a, b)
	sent := 0
	for broken := false; !broken; sent++ {
		require.Less(t, sent, 1000)
		a.sendLarge(b, leastMessage/2)
		a.seen.mu.Lock()
		broken = a.seen.lost[b.id] > 0
		a.seen.mu.Unlock()
	}
	t.Logf("broken after %d MB", sent/2)
	release()
	talk(t, a, b)
}

func TestActorsWatchedElsewhereEndWithTheirNode(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	_, err := b.system.Root.SpawnNamed(actor.PropsFromFunc(func(actor.Context) {}), "far")
	require.NoError(t, err)
	ended := make(chan *actor.Terminated, 10)
	watching := make(chan struct{})
	watcher := a.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Watch(actor.NewPID(b.system.Address(), "nobody"))
			c.Watch(actor.NewPID(b.system.Address(), "far"))
			close(watching)
		case *actor.Terminated:
			ended <- m
		}
	}))
	defer a.system.Root.Stop(watcher)
	<-watching
	one := <-ended
	assert.Equal(t, "nobody", one.Who.Id)
	assert.Equal(t, actor.TerminatedReason_NotFound, one.Why)
	b.shut()
	one = <-ended
	assert.Equal(t, "far", one.Who.Id)
	assert.Equal(t, actor.TerminatedReason_AddressTerminated, one.Why)
	assert.Empty(t, ended, "an actor that has ended is not watched any more")
}

// Requests that cannot be sent are answered when that is known.
func TestRequestsThatAreLostAreAnswered(t *testing.T) {
	t.Parallel()
	a := start(t, nil, nil)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	address := silent.Addr().String()
	future := a.system.Root.RequestFuture(actor.NewPID(address, "x"), wrapperspb.String(""), testTime)
	ended := make(chan *actor.Terminated, 1)
	a.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Watch(actor.NewPID(address, "y"))
			a.remoting.existing(address).end(errors.New("it does not answer"))
		case *actor.Terminated:
			ended <- m
		}
	}))
	_, err = future.Result()
	assert.ErrorIs(t, err, actor.ErrDeadLetter)
	assert.Equal(t, actor.TerminatedReason_AddressTerminated, (<-ended).Why)
	assert.Nil(t, a.remoting.existing(address))
}

func TestMessagesThatCannotBeSentAreLostAlone(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	defer func() { assert.Zero(t, a.seen.lost[b.id]) }()
	_, err := a.system.Root.RequestFuture(actor.NewPID(b.system.Address(), "\xff"), wrapperspb.String(""), testTime).Result()
	assert.ErrorIs(t, err, actor.ErrDeadLetter)
	_, err = a.system.Root.RequestFuture(actor.NewPID(b.system.Address(), "x"), wrapperspb.String("\xff"), testTime).Result()
	assert.ErrorIs(t, err, actor.ErrDeadLetter)
	talk(t, a, b)
	_, err = a.system.Root.RequestFuture(actor.NewPID(b.system.Address(), "x"), "text", testTime).Result()
	assert.ErrorIs(t, err, actor.ErrDeadLetter)
}

func TestStopBeforeJoin(t *testing.T) {
	t.Parallel()
	a := open(t, nil, nil)
	assert.NoError(t, a.stop(context.Background()))
	assert.NoError(t, a.stop(context.Background()))
}
