package hubproto_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestEncodeDepth(t *testing.T) {
	// Everything that can be encoded can be parsed: the limit counts arrays and objects, including the message itself, as the limit of
	// the parser does.
	for name, nest := range map[string]func(n int) any{
		"list": func(n int) any { return listOf(n) }, "slices": nestedSlices, "maps": nestedMaps, "typed slices": nestedTypes,
	} {
		for _, depth := range []int{1, 2, 31, 32, 33, 61, 62, 63, 64, 65, 66, 200} {
			t.Run(fmt.Sprintf("%d %s", depth, name), func(t *testing.T) {
				v := nest(depth)
				result, err := hubproto.JSON.AppendResult(nil, []byte("1"), v)
				if depth > hubproto.MaxDepth-1 {
					assert.Error(t, err, "result")
				} else if assert.NoError(t, err, "result") {
					var m hubproto.Message
					assert.NoError(t, hubproto.JSON.Parse(result, &m))
				}
				call, err := hubproto.JSON.AppendInvocation(nil, nil, "T", []any{1, v})
				if depth > hubproto.MaxDepth-2 {
					assert.Error(t, err, "argument")
				} else if assert.NoError(t, err, "argument") {
					var m hubproto.Message
					assert.NoError(t, hubproto.JSON.Parse(call, &m))
				}
			})
		}
	}
}

func TestParsedValueCanBeEncoded(t *testing.T) {
	// The deepest argument that the parser accepts is forwarded unchanged.
	text := strings.Repeat(`[{"a":`, 31) + "1" + strings.Repeat("}]", 31)
	record := []byte(`{"type":1,"target":"T","arguments":[` + text + `]}` + "\x1e")
	var m hubproto.Message
	require.NoError(t, hubproto.JSON.Parse(record, &m))
	var v any
	require.NoError(t, hubproto.JSON.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&v).Elem()}))
	again, err := hubproto.JSON.AppendInvocation(nil, nil, "T", []any{v})
	require.NoError(t, err)
	assert.Equal(t, string(record), string(again))
}

type loop *loop

func TestEncodeCycleFails(t *testing.T) {
	self := &node{}
	self.Next = self
	slice := []any{1, nil, nil}
	slice[1], slice[2] = slice, slice
	dict := map[string]any{}
	dict["a"], dict["b"] = dict, []any{dict}
	var value any
	value = &value
	var l loop
	l = &l
	type list []list
	own := make(list, 2)
	own[0], own[1] = own, own
	for name, v := range map[string]any{
		"pointer": self, "slice": slice, "map": dict, "any": value, "pointer to itself": l, "slice of itself": own,
		"in a struct": struct{ A any }{self},
	} {
		for _, dst := range [][]byte{nil, []byte("before")} {
			got, err := hubproto.JSON.AppendResult(dst, []byte("1"), v)
			assert.Error(t, err, name)
			assert.Equal(t, string(dst), string(got), name)
			got, err = hubproto.JSON.AppendInvocation(dst, nil, "T", []any{v})
			assert.Error(t, err, name)
			assert.Equal(t, string(dst), string(got), name)
		}
	}
}

func TestConcurrentEncodingOfNewTypes(t *testing.T) {
	// The caches do not contain the type when several goroutines encode it concurrently.
	var all sync.WaitGroup
	for round := range 20 {
		typ := reflect.StructOf([]reflect.StructField{
			{Name: fmt.Sprintf("Round%d", round), Type: reflect.TypeFor[int]()},
			{Name: "Inner", Type: reflect.StructOf([]reflect.StructField{{Name: fmt.Sprintf("Inner%d", round), Type: reflect.TypeFor[*node]()}})},
		})
		want := fmt.Sprintf(`{"round%d":0,"inner":{"inner%d":null}}`, round, round)
		for range 4 {
			all.Go(func() {
				v := reflect.New(typ).Elem()
				assert.Equal(t, want, encoded(t, v.Interface()))
				assert.NoError(t, hubproto.JSON.BindArguments([]byte("["+want+"]"), []reflect.Value{v}))
			})
		}
	}
	all.Wait()
}

func TestAppendDoesNotWriteBeyondCapacity(t *testing.T) {
	// The memory after the buffer belongs to other messages.
	memory := bytes.Repeat([]byte("x"), 100)
	dst := memory[:0:10]
	_, err := hubproto.JSON.AppendResult(dst, []byte("1"), strings.Repeat("long", 20))
	require.NoError(t, err)
	assert.Equal(t, strings.Repeat("x", 90), string(memory[10:]))
}
