package hubproto_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// wrapped is a protocol of the application.
type wrapped struct{ hubproto.Protocol }

// AppendItem appends as that of the protocol does, whatever the type of the item.
func TestAppendItem(t *testing.T) {
	for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.JSONOptions{DeclaredNames: true}.Protocol(), hubproto.MessagePack, wrapped{hubproto.JSON}} {
		assertSameItem(t, p, "a \"text\"")
		assertSameItem(t, p, "")
		assertSameItem(t, p, true)
		assertSameItem(t, p, -1)
		assertSameItem(t, p, int32(math.MinInt32))
		assertSameItem(t, p, int64(math.MaxInt64))
		assertSameItem(t, p, 1.5)
		assertSameItem(t, p, math.NaN()) // an error in JSON
		assertSameItem(t, p, []byte("bytes"))
		assertSameItem(t, p, struct{ Name string }{"a"})
		assertSameItem[any](t, p, nil)
		assertSameItem[any](t, p, "in an interface")
		assertSameItem[any](t, p, func() {}) // an error
		assertSameItem[error](t, p, nil)
		assertSameItem[*int](t, p, nil)
	}
}

func assertSameItem[T any](t *testing.T, p hubproto.Protocol, item T) {
	t.Helper()
	dst := []byte("before")
	want, wantErr := p.AppendItem(dst, []byte("1"), item)
	got, err := hubproto.AppendItem(p, dst, []byte("1"), item)
	assert.Equal(t, string(want), string(got), "%s: %T", p.Name(), item)
	assert.Equal(t, wantErr, err, "%s: %T", p.Name(), item)
}
