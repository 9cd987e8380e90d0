package hubsys_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Streaming is the hub of BenchmarkStream.
type Streaming struct{ hubsys.Hub }

func (*Streaming) Texts(n int) iter.Seq2[string, error] { return repeated("hello, world", n) }
func (*Streaming) Points(n int) iter.Seq2[point, error] { return repeated(point{1, 2}, n) }

func (*Streaming) Channel(ctx context.Context, n int) <-chan int {
	c := make(chan int, 64)
	go func() {
		defer close(c)
		for i := range n {
			select {
			case c <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

func repeated[T any](item T, n int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for range n {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// BenchmarkStream is about the items of one stream.
func BenchmarkStream(b *testing.B) {
	for _, method := range []string{"Texts", "Points", "Channel"} {
		b.Run(method, func(b *testing.B) {
			sys, err := hubsys.New(hubsys.Config{})
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, shutdown(sys)) })
			hub, err := hubsys.Register(sys, func(context.Context) (*Streaming, error) { return &Streaming{}, nil }, hubsys.HubOptions{})
			require.NoError(b, err)
			require.NoError(b, hub.Map("/", hubsys.EndpointOptions{}))
			ws, conn := dialPlain(b, sys)
			call := fmt.Sprintf(`{"type":4,"invocationId":"1","target":"%s","arguments":[%d]}`+separator, method, b.N)
			buffer := make([]byte, 64<<10)
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, ws.Write(b.Context(), websocket.MessageText, []byte(call)))
			for left := b.N + 1; left > 0; { // with the completion
				n, err := conn.Read(buffer)
				if err != nil {
					b.Fatal(err)
				}
				left -= bytes.Count(buffer[:n], []byte(separator))
			}
			b.StopTimer()
			require.NoError(b, conn.Close())
		})
	}
}
