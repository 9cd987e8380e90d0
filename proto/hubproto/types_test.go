package hubproto_test

import (
	"encoding/json"
	"io"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

type tree struct {
	Value    any
	Children []*tree
	ByName   map[string]tree
	_        chan int
	Left     func() `json:"-"`
}

type twice struct {
	ID string
	Id string
}

type twiceTagged struct {
	ID string
	Id string `json:"other"`
}

type hidesOther struct {
	twiceTagged
	ID int
}

type holdsChan struct{ Inner struct{ C []chan int } }

type holdsReader struct{ R io.Reader }

type bitset map[struct{ X, Y int }]bool

func (b bitset) MarshalJSON() ([]byte, error)     { return []byte("[]"), nil }
func (b *bitset) UnmarshalJSON(text []byte) error { *b = bitset{}; return nil }

func TestCheckEncodableAndBindable(t *testing.T) {
	for _, test := range []struct {
		typ                 reflect.Type
		encodable, bindable string
	}{
		{typ: reflect.TypeFor[int]()},
		{typ: reflect.TypeFor[any]()},
		{typ: reflect.TypeFor[[]byte]()},
		{typ: reflect.TypeFor[*tree]()},
		{typ: reflect.TypeFor[time.Time]()},
		{typ: reflect.TypeFor[*big.Int]()},
		{typ: reflect.TypeFor[json.RawMessage]()},
		{typ: reflect.TypeFor[map[netip.Addr]uint8]()},
		{typ: reflect.TypeFor[map[int64][2]float32]()},
		{typ: reflect.TypeFor[bitset]()},
		{typ: reflect.TypeFor[twiceTagged]()},
		{typ: reflect.TypeFor[hidesOther]()},
		{
			reflect.TypeFor[[]chan int](),
			"in []chan int: chan int has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]", "in []chan int: chan int has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]",
		},
		{
			reflect.TypeFor[map[string]func()](),
			"in map[string]func(): func() has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]", "in map[string]func(): func() has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]",
		},
		{
			reflect.TypeFor[map[[2]int]bool](),
			"in map[[2]int]bool: keys of type [2]int have no encoding", "in map[[2]int]bool: keys of type [2]int have no encoding",
		},
		{
			reflect.TypeFor[map[bool]chan int](),
			"in map[bool]chan int: keys of type bool have no encoding", "in map[bool]chan int: keys of type bool have no encoding",
		},
		{
			reflect.TypeFor[*holdsChan](),
			"in *hubproto_test.holdsChan: in hubproto_test.holdsChan, field Inner: in struct { C []chan int }, field C: in []chan int: chan int has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]",
			"in *hubproto_test.holdsChan: in hubproto_test.holdsChan, field Inner: in struct { C []chan int }, field C: in []chan int: chan int has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]",
		},
		{
			reflect.TypeFor[holdsReader](),
			"", "in hubproto_test.holdsReader, field R: nothing can be bound to the interface io.Reader",
		},
		{
			reflect.TypeFor[[]twice](),
			`in []hubproto_test.twice: in hubproto_test.twice: the fields ID and Id are both called "id"; give one of them a name by a tag`,
			`in []hubproto_test.twice: in hubproto_test.twice: the fields ID and Id are both called "id"; give one of them a name by a tag`,
		},
	} {
		for _, direction := range []struct {
			check func(reflect.Type) error
			want  string
		}{{hubproto.CheckEncodable, test.encodable}, {hubproto.CheckBindable, test.bindable}} {
			if direction.want == "" {
				require.NoError(t, direction.check(test.typ), "%s", test.typ)
			} else {
				require.EqualError(t, direction.check(test.typ), direction.want)
			}
		}
	}
}
