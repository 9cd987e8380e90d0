package hubproto_test

import (
	"reflect"
	"testing"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// eachProtocol runs a benchmark with both protocols.
func eachProtocol(b *testing.B, f func(b *testing.B, p hubproto.Protocol)) {
	b.Run("JSON", func(b *testing.B) { f(b, hubproto.JSON) })
	b.Run("MessagePack", func(b *testing.B) { f(b, hubproto.MessagePack) })
}

// BenchmarkParse measures how an invocation is cut from what has been read, and its envelope decoded.
func BenchmarkParse(b *testing.B) {
	eachProtocol(b, func(b *testing.B, p hubproto.Protocol) {
		record, err := p.AppendInvocation(nil, []byte("12"), "Send", []any{"alice", "Hello everybody, how are you today?"})
		if err != nil {
			b.Fatal(err)
		}
		var m hubproto.Message
		b.ReportAllocs()
		for b.Loop() {
			n, err := p.Next(record, 0, 32<<10)
			if err == nil {
				err = p.Parse(record[:n], &m)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBind measures how the arguments of an invocation are decoded.
func BenchmarkBind(b *testing.B) {
	eachProtocol(b, func(b *testing.B, p hubproto.Protocol) {
		for _, test := range []struct {
			name string
			arg  any
		}{
			{"string", "Hello everybody, how are you today?"},
			{"int", 1234567},
			{"struct", struct {
				User  string
				Count int
				Price float64
				Tags  []string
			}{"alice", 1234567, 21.375, []string{"a", "b"}}},
		} {
			b.Run(test.name, func(b *testing.B) {
				record, err := p.AppendInvocation(nil, nil, "Send", []any{test.arg})
				if err != nil {
					b.Fatal(err)
				}
				var m hubproto.Message
				if err := p.Parse(record, &m); err != nil {
					b.Fatal(err)
				}
				params := []reflect.Value{reflect.New(reflect.TypeOf(test.arg)).Elem()}
				b.ReportAllocs()
				for b.Loop() {
					params[0].SetZero()
					if err := p.BindArguments(m.Arguments, params); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

// BenchmarkResult measures how the completion of an invocation is encoded.
func BenchmarkResult(b *testing.B) {
	eachProtocol(b, func(b *testing.B, p hubproto.Protocol) {
		id, buf := []byte("12"), []byte(nil)
		var result any = "Hello everybody, how are you today?"
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if buf, err = p.AppendResult(buf[:0], id, result); err != nil {
				b.Fatal(err)
			}
		}
	})
}

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
