package classic_test

import (
	"reflect"
	"testing"

	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// BenchmarkParse measures how a call is decoded: what the client has sent, and the record that is made of it.
func BenchmarkParse(b *testing.B) {
	text := []byte(`{"H":"chathub","M":"Send","A":["alice","Hello everybody, how are you today?"],"I":12}`)
	p := classic.NewProtocol("chathub")
	var record []byte
	var m hubproto.Message
	b.ReportAllocs()
	for b.Loop() {
		in, err := classic.ParseInvocation(text)
		if err == nil {
			record = classic.AppendCall(record[:0], []byte("12"), in.Hub, &in)
			err = p.Parse(record, &m)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBind measures how the arguments of a call are decoded: as they are declared, and as hubs of SignalR 2 take them as well.
func BenchmarkBind(b *testing.B) {
	p := classic.NewProtocol("chathub")
	for _, test := range []struct {
		name      string
		arguments string
		types     []reflect.Type
	}{
		{"string", `["Hello everybody, how are you today?"]`, []reflect.Type{reflect.TypeFor[string]()}},
		{"int", `[1234567]`, []reflect.Type{reflect.TypeFor[int]()}},
		{"lenient", `["1234567",true]`, []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[string]()}},
	} {
		b.Run(test.name, func(b *testing.B) {
			var params []reflect.Value
			for _, t := range test.types {
				params = append(params, reflect.New(t).Elem())
			}
			arguments := []byte(test.arguments)
			b.ReportAllocs()
			for b.Loop() {
				for _, p := range params {
					p.SetZero()
				}
				if err := p.BindArguments(arguments, params); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkResult measures how the answer to a call is encoded.
func BenchmarkResult(b *testing.B) {
	p := classic.NewProtocol("chathub")
	id, buf := []byte("12"), []byte(nil)
	var result any = "Hello everybody, how are you today?"
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = p.AppendResult(buf[:0], id, result); err != nil {
			b.Fatal(err)
		}
	}
}
