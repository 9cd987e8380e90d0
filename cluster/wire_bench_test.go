package cluster

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// sink counts messages, and says when the last one has come.
type sink struct {
	left atomic.Int64
	done chan struct{}
}

func (s *sink) SendUserMessage(*actor.PID, any) {
	if s.left.Add(-1) == 0 {
		close(s.done)
	}
}

func (*sink) SendSystemMessage(*actor.PID, any) {}
func (*sink) Stop(*actor.PID)                   {}

// BenchmarkMessages sends messages from one actor system to another, beside the remote that protoactor has.
func BenchmarkMessages(b *testing.B) {
	node := func(configure func(*Config)) func(*testing.B) *actor.ActorSystem {
		return func(b *testing.B) *actor.ActorSystem {
			config := Config{Bind: "127.0.0.1:0", Key: testKey}
			configure(&config)
			system := newSystem()
			w, err := newWire(config.withDefaults(), system, backplane.NodeID(rand.Uint32()), nil, newWatcher())
			require.NoError(b, err)
			b.Cleanup(w.shut)
			return system
		}
	}
	kinds := []struct {
		name  string
		start func(*testing.B) *actor.ActorSystem
	}{
		{"cluster", node(func(*Config) {})},
		{"insecure", node(func(c *Config) { c.Key, c.Insecure = nil, true })},
		{"protoactor-insecure", func(b *testing.B) *actor.ActorSystem {
			system := newSystem()
			r := remote.NewRemote(system, remote.Configure("127.0.0.1", 0))
			r.Start()
			b.Cleanup(func() { r.Shutdown(false) })
			return system
		}},
	}
	for _, size := range []int{100, 64 << 10} {
		for _, kind := range kinds {
			b.Run(fmt.Sprintf("%s/%d", kind.name, size), func(b *testing.B) {
				from, to := kind.start(b), kind.start(b)
				s := &sink{done: make(chan struct{})}
				s.left.Store(int64(b.N))
				to.ProcessRegistry.Add(s, "sink")
				pid, m := actor.NewPID(to.Address(), "sink"), wrapperspb.Bytes(make([]byte, size))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				const window = 1 << 20 // bytes on their way, as links allow
				for i := range int64(b.N) {
					for i-(int64(b.N)-s.left.Load()) > window/int64(size) {
						runtime.Gosched()
					}
					from.Root.Send(pid, m)
				}
				<-s.done
			})
		}
	}
}
