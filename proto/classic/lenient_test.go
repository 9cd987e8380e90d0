package classic_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/proto/hubproto"
)

type (
	kind int8
	name string

	any1   struct{ V any }
	holder struct {
		any1
		L    []map[string]any
		P    *any
		When time.Time
	}
	quoted struct {
		N int  `json:",string"`
		B bool `json:",string"`
		M int
	}
)

// bind decodes arguments for parameters that have the types of examples, and returns their values.
func bind(arguments string, examples ...any) ([]any, error) {
	params := make([]reflect.Value, len(examples))
	for i, example := range examples {
		params[i] = reflect.New(reflect.TypeOf(example)).Elem()
	}
	if err := classic.NewProtocol("Hub").BindArguments([]byte(arguments), params); err != nil {
		return nil, err
	}
	values := make([]any, len(params))
	for i, p := range params {
		values[i] = p.Interface()
	}
	return values, nil
}

func TestArgumentsAreReadLeniently(t *testing.T) {
	three, five, yes := 3, "5", true
	for _, test := range []struct {
		arguments string
		want      []any // of the types of the parameters
	}{
		{`[]`, []any{}},
		{`[3,"x",true,1.5]`, []any{3, "x", true, 1.5}},
		{`["3"]`, []any{3}},
		{`["-3"]`, []any{int64(-3)}},
		{`["255"]`, []any{uint8(255)}},
		{`["18446744073709551615"]`, []any{uint64(18446744073709551615)}},
		{`["1.5"]`, []any{1.5}},
		{`["1e3"]`, []any{float32(1000)}},
		{`["7"]`, []any{kind(7)}},
		{`["true"]`, []any{true}},
		{`["false"]`, []any{false}},
		{`["3"]`, []any{&three}},
		{`["true"]`, []any{&yes}},
		{`[5]`, []any{"5"}},
		{`[-1.50e+3]`, []any{"-1.50e+3"}},
		{`[true,false]`, []any{"true", "false"}},
		{`[5]`, []any{&five}},
		{`[5]`, []any{name("5")}},
		{`[null,null,null]`, []any{(*int)(nil), []string(nil), map[string]int(nil)}},
		{`["3",3,"3","x"]`, []any{3, 3, "3", "x"}},
		{`[5,"3",null,"true",{"A":"5"}]`, []any{"5", 3, (*string)(nil), true, map[string]string{"A": "5"}}},
		{` [ "3" , 5 ] `[1:12], []any{3, "5"}},
		{`["3"]`, []any{time.Duration(3)}},
		{`[3,"3"]`, []any{json.Number("3"), json.Number("3")}},
		{`["3",{"x":["3"]}]`, []any{3, any(map[string]any{"x": []any{"3"}})}},
		{`[{"x":1,"Y":2,"NAMED":"n","other":3}]`, []any{point{X: 1, Y: 2, Named: "n"}}},
		{`["AQID"]`, []any{[]byte{1, 2, 3}}},
		{`[["1",2],{"a":"3"},[["true"]]]`, []any{[]int{1, 2}, map[string]int{"a": 3}, [][]bool{{true}}}},
		{`[{"x":"1","Y":2,"NAMED":5,"other":{"x":"3"}}]`, []any{point{X: 1, Y: 2, Named: "5"}}},
		{`[[{"X":"1"}],{"a\"b":{"y":"2"}}]`, []any{[]*point{{X: 1}}, map[string]point{`a"b`: {Y: 2}}}},
		{`["",[""],"3"]`, []any{(*int)(nil), []*bool{nil}, 3}},
		{`[[9007199254740993,1.5],{"a":[1]}]`, []any{[]any{int64(9007199254740993), 1.5}, map[string]any{"a": []any{int64(1)}}}},
		{`[{"V":9007199254740993,"L":[{"x":1}],"P":null,"When":"2026-11-30T00:00:00Z"}]`, []any{
			holder{any1{V: int64(9007199254740993)}, []map[string]any{{"x": int64(1)}}, nil, time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)},
		}},
		{`[{"N":"5","M":"6"}]`, []any{quoted{N: 5, M: 6}}},
		{`[{"N":5,"B":true,"M":6}]`, []any{quoted{N: 5, B: true, M: 6}}},
		{`["3",[{"When":"2026-11-30T00:00:00Z"}]]`, []any{3, []struct{ When time.Time }{{time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)}}}},
	} {
		got, err := bind(test.arguments, test.want...)
		if assert.NoError(t, err, test.arguments) {
			assert.Equal(t, test.want, got, test.arguments)
		}
	}
}

// A number that is too large for a float64 is none.
func TestNumbersThatAreTooLarge(t *testing.T) {
	for _, example := range []any{map[string]any{}, []any{}} {
		_, err := bind(`[{"a":1e400}]`, example)
		require.Error(t, err)
	}
	var params = []reflect.Value{reflect.New(reflect.TypeFor[any]()).Elem()}
	require.Error(t, classic.NewProtocol("Hub").BindArguments([]byte(`[1e400]`), params))
}

func TestNotEveryArgumentFits(t *testing.T) {
	for _, test := range []struct {
		arguments string
		params    []any
	}{
		{`["1.6"]`, []any{0}}, {`[1.6]`, []any{0}}, {`[null]`, []any{0}}, {`[null]`, []any{true}}, {`["x"]`, []any{0}}, {`["x"]`, []any{1.5}}, {`["1"]`, []any{true}},
		{`["yes"]`, []any{true}}, {`["256"]`, []any{uint8(0)}}, {`["-1"]`, []any{uint(0)}}, {`["0x10"]`, []any{0}}, {`["1_0"]`, []any{0}}, {`["3"]`, []any{point{}}},
		{`[[3]]`, []any{"x"}}, {`[{}]`, []any{"x"}}, {`[{}]`, []any{0}}, {`[[1]]`, []any{0}}, {`[true]`, []any{0}}, {`[3]`, []any{[]string{}}},
		{`["x",1]`, []any{0, ""}}, {`["3","x"]`, []any{0, 0}}, {`[""]`, []any{0}}, {`["1,2"]`, []any{0}}, {`["1,2",3]`, []any{0, 0}},
		{`[["x"]]`, []any{[]int{}}}, {`[{"X":"x"}]`, []any{point{}}}, {`[{"a":""}]`, []any{map[string]int{}}},
	} {
		_, err := bind(test.arguments, test.params...)
		var fault *hubproto.BindError
		require.ErrorAs(t, err, &fault, "%s", test.arguments)
	}
}

func TestTheNumberOfArgumentsHasToFit(t *testing.T) {
	for _, test := range []struct {
		arguments string
		params    []any
	}{
		{`[]`, []any{0}}, {`["3"]`, nil}, {`["3","4"]`, []any{0}}, {`["3"]`, []any{0, 0}}, {`["3",null]`, []any{0}},
	} {
		_, err := bind(test.arguments, test.params...)
		var fault *hubproto.BindError
		require.ErrorAs(t, err, &fault, "%s", test.arguments)
	}
}

func TestAValueIsNotReadLeniently(t *testing.T) {
	p := classic.NewProtocol("Hub")
	var n int
	require.NoError(t, p.BindValue([]byte("3"), reflect.ValueOf(&n).Elem()))
	require.Equal(t, 3, n)
	require.Error(t, p.BindValue([]byte(`"3"`), reflect.ValueOf(&n).Elem()))
}
