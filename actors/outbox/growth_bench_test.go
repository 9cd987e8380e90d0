package outbox

import (
	"fmt"
	"math"
	"testing"

	"github.com/troupe-go/troupe/internal/growthtest"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// These benchmarks show how the cost of a box grows with what waits in it. actors/growth_bench_test.go says how to read them. By default a box holds
// 1 MiB, which are at most 16,000 packets.

// flushAll writes everything, one turn after the other.
func flushAll(box *Box) {
	w := BorrowWriter()
	defer ReturnWriter(w)
	for {
		if bytes, _ := box.Pending(); bytes == 0 {
			return
		}
		w.Flush(box)
	}
}

// n packets are pushed, and written when all are there.
func BenchmarkGrowthQueue(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		box, p := newBenchBox(math.MaxInt32), benchPacket()
		for b.Loop() {
			for range n {
				box.Push(p, true, true)
			}
			flushAll(box)
		}
		growthtest.PerUnit(b, n)
	})
}

// Each of n packets with different keys is replaced, while all of them wait.
func BenchmarkGrowthReplace(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		box := newBenchBox(math.MaxInt32)
		packets := make([]*Packet, n)
		for i := range packets {
			packets[i] = benchPacket().WithPolicy(Disconnect, fmt.Sprint(i))
		}
		for b.Loop() {
			for _, p := range packets {
				box.Push(p, true, true)
			}
		}
		growthtest.PerUnit(b, n)
	})
}

// A packet takes the place of the oldest one in a box that is full of n. Behind another packet that cannot be dropped, because its sender waits for
// its room, it has to be found.
func BenchmarkGrowthDropOldest(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		p := benchPacket().WithPolicy(DropOldest, "")
		box := newBenchBox(n * p.charge())
		for range n / 2 {
			box.Push(NewPacket(p.b, wsframe.Text, false), false, true)
		}
		for range n {
			box.Push(p, true, false)
		}
		for b.Loop() {
			if box.Push(p, true, false) == Skipped {
				b.Fatal("no packet was dropped")
			}
		}
		growthtest.PerUnit(b, 1)
	})
}

// The peer acknowledges n messages that are kept, one by one.
func BenchmarkGrowthAck(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		box, p := newBenchBox(math.MaxInt32), benchPacket()
		box.Keep(math.MaxInt32)
		number := int64(0)
		for b.Loop() {
			b.StopTimer()
			for range n {
				box.Push(p, true, true)
			}
			flushAll(box)
			b.StartTimer()
			for range n {
				number++
				box.Acknowledge(number)
			}
		}
		growthtest.PerUnit(b, n)
	})
}

// The peer comes back over another link, and n messages that are kept are written again.
func BenchmarkGrowthResume(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		box, p := newBenchBox(math.MaxInt32), benchPacket()
		box.Keep(math.MaxInt32)
		for range n {
			box.Push(p, true, true)
		}
		flushAll(box)
		introduce := func(int64) *Packet { return NewControl(Buffer(8), wsframe.Text) }
		for b.Loop() {
			if !box.Detach() || !box.Reattach(&discardSocket{}, introduce) {
				b.Fatal("the box is sealed")
			}
			flushAll(box)
		}
		growthtest.PerUnit(b, n)
	})
}

// n senders that wait for room give up, the first one first.
func BenchmarkGrowthWaiters(b *testing.B) {
	growthtest.Run(b, func(b *testing.B, n int) {
		box := newBenchBox(1000)
		for range 10 {
			box.Push(benchPacket(), true, true)
		}
		nodes := make([]*waitNode, n)
		for b.Loop() {
			for i := range nodes {
				nodes[i] = box.await(newWaiter(1), false)
			}
			for _, node := range nodes {
				box.forget(node)
			}
		}
		growthtest.PerUnit(b, n)
	})
}
