package transport

import (
	"testing"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// discard is a session that takes what is read, and a source that always has the same bytes.
type discard struct {
	link.SocketSession
	buffer [4096]byte
	wire   []byte
}

func (d *discard) Buffer() []byte           { return d.buffer[:] }
func (d *discard) Commit(int) bool          { return true }
func (d *discard) receive() ([]byte, error) { return d.wire, nil }

// BenchmarkRead measures how a frame of a client is read, behind the read of the socket.
func BenchmarkRead(b *testing.B) {
	for _, test := range []struct {
		name string
		size int
	}{{"100", 100}, {"4000", 4000}} {
		b.Run(test.name, func(b *testing.B) {
			payload := make([]byte, test.size)
			for i := range payload {
				payload[i] = 'a' + byte(i%26)
			}
			d := &discard{wire: maskedFrame(finBit|wsframe.Text, 0x12345678, payload)}
			r := frameReader{socket: &WebSocket{session: d, source: d}, sink: d}
			b.SetBytes(int64(test.size))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.frame(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
