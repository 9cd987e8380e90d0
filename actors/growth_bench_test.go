package actors

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/troupe-go/troupe/hubsys/backplane/memory"
	"github.com/troupe-go/troupe/internal/growthtest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// These benchmarks show how the cost of operations grows with what they work on. How to read them, as a table ("make bench-growth"):
//
//   - ns/unit is the time for one unit of the input: one delivery of a broadcast, one name of an audience, or, where the input is only what
//     there is besides, one operation. What costs the same at each size grows as its input does. Some are excused to take up to six times as long
//     at 100,000, because 1,000 connections, groups or maps with so many entries fit into the caches of the processor, and 100,000 do not: FanOut,
//     Names, Groups, Disconnect, Watch, and Members/List, which sorts besides.
//   - max-ms is how long another change of the same group waits while the operation runs: the longest wait, as the median of 15 operations. A waiter
//     that has been passed over for 1 ms is served next (that is how a sync.Mutex works), so 1 ms and a little more says that the lock is held for
//     short times, one after the other. It is right on a machine that does nothing else: where a goroutine has to wait for a processor, some time
//     slices of the kernel come on top, of 4 ms each.
//
// Connections are in memory. Where it says so, they are no actors, and nobody writes for them.

var ctx = context.Background()

// A connection opens and ends, beside n others: of other users, or of the same one.
func BenchmarkGrowthConnect(b *testing.B) {
	for _, test := range []struct {
		name string
		user func(i int) string
	}{{"OwnUsers", func(i int) string { return fmt.Sprint("user-", i) }}, {"OneUser", func(int) string { return "ada" }}} {
		b.Run(test.name, func(b *testing.B) {
			growthtest.Run(b, func(b *testing.B, n int) {
				w := newCrowdOf(b, n, test.user)
				for i := n; b.Loop(); i++ {
					c := w.connect(i, test.user(i))
					w.begin(c)
					<-w.handler.opened
					c.End(nil)
					<-w.handler.ended
					w.conns = w.conns[:n]
				}
				growthtest.PerUnit(b, 1)
			})
		})
	}
}

// A message goes to one of n connections, and is written.
func BenchmarkGrowthSend(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newCrowd(b, n)
		for i := 0; b.Loop(); i++ {
			w.expect(1)
			to := Audience{Kind: Connections, Names: []string{w.conns[i*7919%n].id}}
			if err := w.hub.Send(ctx, &to, "receive", []any{"text"}); err != nil {
				b.Fatal(err)
			}
			w.allWritten()
		}
		growthtest.PerUnit(b, 1)
	})
}

// A message goes to n connections, and is written.
func BenchmarkGrowthBroadcast(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newCrowd(b, n)
		for b.Loop() {
			w.expect(n)
			if err := w.hub.Send(ctx, &Audience{}, "receive", []any{"text"}); err != nil {
				b.Fatal(err)
			}
			w.allWritten()
		}
		growthtest.PerUnit(b, n)
	})
}

// A message is pushed to the members of a group, which are no actors. Meanwhile somebody else joins and leaves.
func BenchmarkGrowthFanOut(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newBareCrowd(b, n)
		w.joinAll("g")
		send := func() {
			if err := w.hub.Send(ctx, &Audience{Kind: Groups, Names: []string{"g"}}, "receive", []any{"text"}); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			send()
			b.StopTimer()
			w.drain()
			b.StartTimer()
		}
		growthtest.PerUnit(b, n)
		growthtest.LongestWait(b, w.drain, send, w.comeAndGo("g"))
	})
}

// comeAndGo returns a function in which a connection joins a group and leaves it.
func (w *crowd) comeAndGo(group string) func() {
	c := w.bareConnection(-1)
	return func() {
		w.hub.groups.join(group, c)
		w.hub.groups.leave(group, c)
	}
}

// A connection joins a group with n members, and leaves it.
func BenchmarkGrowthJoin(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newBareCrowd(b, n)
		w.joinAll("g")
		change := w.comeAndGo("g")
		for b.Loop() {
			change()
		}
		growthtest.PerUnit(b, 1)
	})
}

// A connection joins n groups, which it is the only member of, and leaves them.
func BenchmarkGrowthGroups(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newCrowd(b, 1)
		for b.Loop() {
			for _, leave := range []bool{false, true} {
				for i := range n {
					if err := w.hub.ChangeMembership(ctx, &Audience{Kind: Caller, Conn: w.conns[0]}, fmt.Sprint("g", i), leave); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		growthtest.PerUnit(b, 2*n)
	})
}

// A connection ends that is in n groups, whose other member comes and goes in one of them.
func BenchmarkGrowthDisconnect(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newCrowd(b, 0)
		enter := func() *Connection {
			c := w.connect(0, "")
			w.begin(c)
			<-w.handler.opened
			for i := range n {
				if err := w.hub.ChangeMembership(ctx, &Audience{Kind: Caller, Conn: c}, fmt.Sprint("g", i), false); err != nil {
					b.Fatal(err)
				}
			}
			return c
		}
		for b.Loop() {
			b.StopTimer()
			c := enter()
			b.StartTimer()
			c.End(nil)
			<-w.handler.ended
		}
		growthtest.PerUnit(b, n)
		var c *Connection
		growthtest.LongestWait(b, func() { c = enter() }, func() { c.End(nil); <-w.handler.ended }, w.comeAndGo("g0"))
	})
}

// A message goes to an audience of n names, or to one that leaves out as many. The connections are no actors.
func BenchmarkGrowthNames(b *testing.B) {
	for _, test := range []struct {
		name string
		to   func(w *crowd) *Audience
	}{
		{"Clients", func(w *crowd) *Audience { return &Audience{Kind: Connections, Names: w.ids()} }},
		{"Groups", func(w *crowd) *Audience { return &Audience{Kind: Groups, Names: w.ids()} }},
		{"Users", func(w *crowd) *Audience { return &Audience{Kind: Users, Names: w.ids()} }},
		{"AllExcept", func(w *crowd) *Audience { return &Audience{ExceptIDs: w.ids()} }},
		{"GroupExcept", func(w *crowd) *Audience { return &Audience{Kind: Groups, Names: []string{"g"}, ExceptIDs: w.ids()} }},
	} {
		b.Run(test.name, func(b *testing.B) {
			growthtest.Run(b, func(b *testing.B, n int) {
				w := newBareCrowd(b, n)
				w.joinAll("g")
				for _, c := range w.conns {
					w.hub.groups.join(c.id, c)
					w.hub.users.join(c.id, c)
				}
				to := test.to(w)
				for b.Loop() {
					if err := w.hub.Send(ctx, to, "receive", []any{"text"}); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					w.drain()
					b.StartTimer()
				}
				growthtest.PerUnit(b, n)
			})
		})
	}
}

// The members of a group are listed, or counted. Meanwhile somebody else joins and leaves.
func BenchmarkGrowthMembers(b *testing.B) {
	for _, test := range []struct {
		name string
		list func(h *Hub, of *Audience) (int, error)
	}{
		{"List", func(h *Hub, of *Audience) (int, error) { all, _, err := h.Members(ctx, of); return len(all), err }},
		{"Count", func(h *Hub, of *Audience) (int, error) { n, _, err := h.Count(ctx, of); return n, err }},
	} {
		b.Run(test.name, func(b *testing.B) {
			growthtest.Run(b, func(b *testing.B, n int) {
				w := newBareCrowd(b, n)
				w.joinAll("g")
				list := func() {
					if k, err := test.list(w.hub, &Audience{Kind: Groups, Names: []string{"g"}}); k < n || err != nil {
						b.Fatal(k, err)
					}
				}
				for b.Loop() {
					list()
				}
				growthtest.PerUnit(b, n)
				growthtest.LongestWait(b, func() {}, list, w.comeAndGo("g"))
			})
		})
	}
}

// A watch of a group begins, and is told who is there. Meanwhile somebody else joins and leaves.
func BenchmarkGrowthWatch(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newBareCrowd(b, n)
		w.joinAll("g")
		watch := func() {
			one := w.hub.Watch(&Audience{Kind: Groups, Names: []string{"g"}})
			defer one.Stop()
			if changes := one.Take(); len(changes) != 1 || len(changes[0].Joined) < n {
				b.Fatal("the watch was not told of all members")
			}
		}
		for b.Loop() {
			watch()
		}
		growthtest.PerUnit(b, n)
		growthtest.LongestWait(b, func() {}, watch, w.comeAndGo("g"))
	})
}

// One of n watches of a group begins and ends, while nobody is in it.
func BenchmarkGrowthWatches(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newEmptyCrowd(b, nil)
		watch := func() *Watch { return w.hub.Watch(&Audience{Kind: Groups, Names: []string{"g"}}) }
		for range n {
			defer watch().Stop()
		}
		for b.Loop() {
			watch().Stop()
		}
		growthtest.PerUnit(b, 1)
	})
}

// A client calls a method n times at once, of which one runs at a time. By default, InboundLimit allows 4,000.
func BenchmarkGrowthCalls(b *testing.B) {
	for _, test := range []struct {
		name string
		id   func(i int) string
	}{{"OwnIDs", func(i int) string { return fmt.Sprint(i) }}, {"SameID", func(int) string { return "same" }}} {
		b.Run(test.name, func(b *testing.B) {
			growthtest.Run(b, func(b *testing.B, n int) {
				w := newCrowd(b, 1)
				hold, begun, all := make(chan struct{}), make(chan struct{}), make(chan struct{})
				left := 0
				w.handler.methods["hold"] = func(*Call, string) (any, error) { begun <- struct{}{}; <-hold; return nil, nil }
				w.handler.methods["count"] = func(*Call, string) (any, error) {
					if left--; left == 0 {
						all <- struct{}{}
					}
					return nil, nil
				}
				var calls []byte
				for i := range n {
					calls = fmt.Appendf(calls, "%s\x1e", call(test.id(i), "count"))
				}
				// The cancel of the last one has the queue find calls by their ids.
				calls = fmt.Appendf(calls, `{"type":5,"invocationId":"none"}`+"\x1e")
				for b.Loop() {
					left = n
					w.write(w.conns[0], []byte(call("hold", "hold")+"\x1e"))
					<-begun
					w.write(w.conns[0], calls)
					hold <- struct{}{}
					<-all
				}
				growthtest.PerUnit(b, n)
			})
		})
	}
}

// A client cancels n calls that wait, one by one.
func BenchmarkGrowthCancel(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newCrowd(b, 1)
		hold, begun, all := make(chan struct{}), make(chan struct{}), make(chan struct{})
		left := 0
		w.handler.methods["hold"] = func(*Call, string) (any, error) { begun <- struct{}{}; <-hold; return nil, nil }
		w.handler.methods["count"] = func(*Call, string) (any, error) {
			if left--; left == 0 {
				all <- struct{}{}
			}
			return nil, nil
		}
		var calls, cancels []byte
		for i := range n {
			calls = fmt.Appendf(calls, "%s\x1e", call(fmt.Sprint(i), "count"))
			cancels = fmt.Appendf(cancels, `{"type":5,"invocationId":"%d"}`+"\x1e", i)
		}
		for b.Loop() {
			b.StopTimer()
			left = n
			w.write(w.conns[0], []byte(call("hold", "hold")+"\x1e"))
			<-begun
			w.write(w.conns[0], calls)
			b.StartTimer()
			w.write(w.conns[0], cancels)
			b.StopTimer()
			hold <- struct{}{}
			<-all
			b.StartTimer()
		}
		growthtest.PerUnit(b, n)
	})
}

// A client begins streams that run until it cancels them: MaxStreams at most.
func BenchmarkGrowthStreams(b *testing.B) {
	for _, n := range []int{10, 100, MaxStreams} {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			w := newCrowd(b, 1)
			events := make(chan struct{}, n)
			w.handler.methods["stream"] = func(k *Call, _ string) (any, error) {
				k.StartStream()
				events <- struct{}{}
				<-k.Done()
				defer func() { events <- struct{}{} }()
				return nil, context.Cause(k)
			}
			var calls, cancels []byte
			for i := range n {
				calls = fmt.Appendf(calls, `{"type":4,"invocationId":"%d","target":"stream","arguments":[]}`+"\x1e", i)
				cancels = fmt.Appendf(cancels, `{"type":5,"invocationId":"%d"}`+"\x1e", i)
			}
			for b.Loop() {
				for _, records := range [][]byte{calls, cancels} {
					w.write(w.conns[0], records)
					for range n {
						<-events
					}
				}
				for !w.conns[0].calls.isEmpty() {
					runtime.Gosched()
				}
			}
			growthtest.PerUnit(b, n)
		})
	}
}

// Somebody waits for the answer of a client, beside n others.
func BenchmarkGrowthResults(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		w := newCrowd(b, 1)
		c := w.conns[0]
		for range n {
			w.hub.results.add(&pendingResult{conn: c, answer: make(chan answer, 1)})
		}
		to := &Audience{Kind: Caller, Conn: c}
		for b.Loop() {
			w.expect(1)
			answered := make(chan error, 1)
			go func() {
				answered <- w.hub.Invoke(ctx, to, "ask", nil, func(hubproto.Protocol, []byte) error { return nil })
			}()
			w.allWritten()
			w.write(c, fmt.Appendf(nil, `{"type":3,"invocationId":"s%d","result":1}`+"\x1e", w.hub.results.last.Load()))
			if err := <-answered; err != nil {
				b.Fatal(err)
			}
		}
		growthtest.PerUnit(b, 1)
	})
}

// A message goes to one of n groups that another node has, in memory, and somebody joins a group that this node does not have, and leaves it.
func BenchmarkGrowthTopics(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		var cluster memory.Cluster
		here, there := newEmptyCrowd(b, cluster.Node("here")), newEmptyCrowd(b, cluster.Node("there"))
		member := there.bareConnection(0)
		for i := range n {
			if known := there.hub.groups.join(fmt.Sprint("g", i), member); known != nil {
				<-known
			}
		}
		c := here.bareConnection(0)
		for i := 0; b.Loop(); i++ {
			to := Audience{Kind: Groups, Names: []string{fmt.Sprint("g", i*7919%n)}}
			if err := here.hub.Send(ctx, &to, "receive", []any{"text"}); err != nil {
				b.Fatal(err)
			}
			<-here.hub.groups.join("own", c)
			here.hub.groups.leave("own", c)
		}
		growthtest.PerUnit(b, 1)
	})
}
