package hubproto_test

import (
	"testing"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func BenchmarkBroadcastEncoding(b *testing.B) {
	type reading struct {
		Sensor  int
		Count   int64
		Value   float64
		Average float64
		Alarm   bool
		Unit    string
	}
	block := make([]byte, 1024)
	for i := range block {
		block[i] = byte(i)
	}
	for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack} {
		name := "JSON"
		if p == hubproto.MessagePack {
			name = "MessagePack"
		}
		for _, load := range []struct {
			name string
			args []any
		}{
			{"chat", []any{"alice", "Hello everybody, how are you today?"}},
			{"struct", []any{reading{17, 1234567, 21.375, 20.98125, true, "°C"}}},
			{"bytes", []any{block}},
			{"mixed", []any{5, true, nil, 1.5, []string{"a", "b"}, map[string]int{"x": 1, "y": 2}}},
		} {
			b.Run(name+"/"+load.name, func(b *testing.B) {
				b.ReportAllocs()
				var buf []byte
				var err error
				for b.Loop() {
					if buf, err = p.AppendInvocation(buf[:0], nil, "ReceiveMessage", load.args); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(buf)), "bytes")
			})
		}
	}
}
