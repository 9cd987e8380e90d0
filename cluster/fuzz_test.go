package cluster

import (
	"log/slog"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-go/troupe/internal/logs"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// FuzzBatches gives a node what another one could send.
func FuzzBatches(f *testing.F) {
	r := &remoting{system: newSystem(), counts: new(counts), limiter: new(logs.Limiter), log: slog.New(slog.DiscardHandler), frame: func(*clusterv1.Frame) {}}
	r.system.ProcessRegistry.Add((*nodeProcess)(r), nodeActor)
	_, err := r.system.Root.SpawnNamed(actor.PropsFromFunc(func(actor.Context) {}), "x")
	if err != nil {
		f.Fatal(err)
	}
	here, there := actor.NewPID(r.system.Address(), "x"), actor.NewPID("127.0.0.1:1", "y")
	seed := func(m proto.Message, target, sender *actor.PID) {
		d, err := newDelivery(target, nil, m, sender)
		if err != nil {
			f.Fatal(err)
		}
		d.header = map[string]string{"a": "b"}
		encoded, err := proto.Marshal(pack([]*delivery{d, d}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	seed(&clusterv1.Frame{From: 1, To: 2}, actor.NewPID(r.system.Address(), nodeActor), nil)
	seed(wrapperspb.String("text"), here, there)
	seed(&actor.Watch{Watcher: there}, here, nil)
	seed(&actor.Unwatch{Watcher: here}, here, nil)
	seed(&actor.Terminated{Who: there}, here, nil)
	seed(&actor.Stop{}, here, nil)
	seed(&remote.ActorPidRequest{Name: "n", Kind: "k"}, there, here)
	f.Fuzz(func(t *testing.T, encoded []byte) {
		var b remote.MessageBatch
		if proto.Unmarshal(encoded, &b) != nil {
			return
		}
		if err := (&inbound{r: r}).deliver(&b); err != nil {
			t.Fatal(err)
		}
	})
}
