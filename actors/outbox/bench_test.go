package outbox

import (
	"log/slog"
	"testing"
	"time"

	"github.com/troupe-go/troupe/internal/counter"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// discardSocket takes everything, and forgets it.
type discardSocket struct{ linktest.Socket }

func (*discardSocket) Blocks() bool                    { return false }
func (*discardSocket) TryWrite(b []byte) (int, error)  { return len(b), nil }
func (*discardSocket) Write(b []byte) (n int, _ error) { return len(b), nil }

// newBenchFlusher returns a flusher that nothing runs.
func newBenchFlusher() *Flusher {
	return NewFlusher(func() time.Duration { return 0 }, func() bool { return true }, slog.New(slog.DiscardHandler), &counter.Counter{})
}

// newBenchBox returns a box over a discardSocket. Nobody writes for it but the benchmark.
func newBenchBox(limit int) *Box {
	b := &Box{}
	b.Init(&owner{}, newBenchFlusher(), limit, wsframe.Text)
	b.AttachSocket(&discardSocket{})
	return b
}

func benchPacket() *Packet {
	return NewPacket(append(Buffer(128), make([]byte, 100)...), wsframe.Text, true)
}

// BenchmarkPush measures a push of a shared packet to a box that is empty. What is pushed is taken without being written.
func BenchmarkPush(b *testing.B) {
	box, p := newBenchBox(1<<20), benchPacket()
	dst := make([]*Packet, 0, 1)
	b.ReportAllocs()
	for b.Loop() {
		if box.Push(p, true, true) != Queued {
			b.Fatal("there is no room")
		}
		box.mu.Lock()
		t := box.take(dst, false)
		box.uncount(t.charge, t.limited)
		box.mu.Unlock()
	}
}

// BenchmarkReply measures how a completion is appended to a box.
func BenchmarkReply(b *testing.B) {
	box, message := newBenchBox(1<<20), make([]byte, 100)
	w := BorrowWriter()
	b.ReportAllocs()
	for b.Loop() {
		if box.Reply(message, false)&Enough != 0 {
			w.Flush(box)
		}
	}
}

// BenchmarkFlush measures how what waits in a box is written, in one message, to a socket that takes everything: the push of each packet
// included.
func BenchmarkFlush(b *testing.B) {
	for _, test := range []struct {
		name    string
		packets int
	}{{"1", 1}, {"64", 64}} {
		b.Run(test.name, func(b *testing.B) {
			box, p, w := newBenchBox(1<<20), benchPacket(), BorrowWriter()
			b.ReportAllocs()
			for b.Loop() {
				for range test.packets {
					box.Push(p, true, true)
				}
				w.Flush(box)
			}
		})
	}
}
