package actors

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// To a goroutine that reads an upload when its call returns, it does not look as if the client had sent all.
func TestUploadOfACallThatReturnsIsNotComplete(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	const n = 2000
	ends := make(chan error, n)
	e.handler.methods["early"] = func(k *Call, _ string) (any, error) {
		list, _ := k.Uploads()
		begun := make(chan struct{})
		go func() {
			close(begun)
			_, err := drainUpload(list[0])
			ends <- err
		}()
		<-begun
		time.Sleep(time.Microsecond)
		return nil, nil
	}
	c := e.open("a", "")
	for range n {
		c.send(uploadCall("1", "early", "s"))
		require.ErrorIs(t, <-ends, ErrReturned)
	}
}

func TestWhatIsDroppedIsNoEndOfAnUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		conn := e.open("a", "").conn
		for _, test := range []struct {
			items int
			end   bool
			want  error
		}{{0, false, ErrReturned}, {1, false, ErrReturned}, {1, true, ErrReturned}, {0, true, io.EOF}} {
			u := &Upload{call: &Call{conn: conn, uploads: &uploads{}}, more: make(chan struct{}, 1)}
			b := &batch{piece: &piece{conn: conn}}
			b.left.Store(10)
			for range test.items {
				require.True(t, u.add(b, nil))
			}
			if test.end {
				u.end(nil)
			}
			u.drop()
			assert.Equal(t, test.want, u.Next(nil), test)
		}
	})
}
