package hubactor_test

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// Plain is a hub without actors, to compare with.
type Plain struct{ hubsys.Hub }

func (*Plain) Add(n int) int { return n + 1 }

// BenchmarkCall makes calls of one client over a WebSocket, in batches so that the network does not cover what the server does.
func BenchmarkCall(b *testing.B) {
	hub := func(scope hubactor.Scope) hubactor.Hub {
		return hubactor.Hub{Scope: scope, Methods: []hubactor.Method{hubactor.Receive[oneInt]("Add")}, Props: receiver(func(c actor.Context) {
			if m, ok := c.Message().(*hubactor.Call[oneInt]); ok {
				c.Respond(m.Args.N + 1)
			}
		})}
	}
	b.Run("Plain", func(b *testing.B) {
		sys := newSystem(b, hubsys.Config{})
		plain, err := hubsys.Register[*Plain](sys, nil, hubsys.HubOptions{})
		require.NoError(b, err)
		benchmarkCalls(b, serve(b, sys, plain))
	})
	b.Run("Shared", func(b *testing.B) { benchmarkCalls(b, serveHub(b, hub(hubactor.Shared), hubsys.HubOptions{})) })
	b.Run("PerConnection", func(b *testing.B) { benchmarkCalls(b, serveHub(b, hub(hubactor.PerConnection), hubsys.HubOptions{})) })
	b.Run("PerCall", func(b *testing.B) { benchmarkCalls(b, serveHub(b, hub(hubactor.PerCall), hubsys.HubOptions{})) })
}

func benchmarkCalls(b *testing.B, url string) {
	const most = 100
	c := dial(b, url)
	one := []byte(invocation("1", "Add", 41) + separator)
	var batch []byte
	for range most {
		batch = append(batch, one...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, most)
		left -= n
		if err := c.ws.Write(b.Context(), websocket.MessageText, batch[:n*len(one)]); err != nil {
			b.Fatal(err)
		}
		for range n {
			if _, err := c.read(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAsk(b *testing.B) {
	to := spawn(b, newActorSystem(b), respondent)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := hubactor.Ask[answer](b.Context(), to, question{1}); err != nil {
			b.Fatal(err)
		}
	}
}
