package actors

import (
	"bytes"
	"testing"

	"github.com/troupe-go/troupe/actors/outbox"
)

// BenchmarkDispatch makes calls of one client, that come together, from the bytes that were read to the written completions. A call does nothing,
// and there is no network: BenchmarkInvoke of package hubsys has both.
func BenchmarkDispatch(b *testing.B) {
	for _, test := range []struct {
		name string
		most int
	}{{"1", 1}, {"64", 64}} {
		b.Run(test.name, func(b *testing.B) {
			w := newCrowd(b, 1)
			w.handler.methods["nothing"] = func(*Call, string) (any, error) { return nil, nil }
			one := []byte(call("1", "nothing", "hello, world") + "\x1e")
			batch := bytes.Repeat(one, test.most)
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; { // each call counts
				n := min(left, test.most)
				left -= n
				w.expect(n)
				w.write(w.conns[0], batch[:n*len(one)])
				w.allWritten()
			}
		})
	}
}

// BenchmarkFanOut encodes a message, and pushes it to the 10,000 members of a group, whose output is dropped.
func BenchmarkFanOut(b *testing.B) {
	w := newBareCrowd(b, 10_000)
	w.joinAll("g")
	g := w.hub.groups.find("g")
	b.ReportAllocs()
	for b.Loop() {
		m := &message{hub: w.hub, target: "receive", args: []any{"text"}, limited: true}
		if err := g.send(m, nil, &outbox.Sending{Waits: true}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		w.drain()
		b.StartTimer()
	}
}
