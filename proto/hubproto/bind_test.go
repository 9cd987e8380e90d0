package hubproto_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestBind(t *testing.T) {
	five := 5
	for _, test := range []struct {
		argument string
		want     any // its type is the type of the parameter
	}{
		{`"x"`, "x"}, {`""`, ""}, {`"\"\\\/\b\f\n\r\t\u00e9"`, "\"\\/\b\f\n\r\té"}, {`"\ud83d\ude00"`, "😀"}, {`"é😀"`, "é😀"},
		{`"null"`, "null"}, {`"a\u001eb"`, "a\x1eb"},
		{`"x"`, text("x")}, {`"\u0078"`, text("x")}, {`"\\ud800"`, `\ud800`}, {`"\\ud800"`, text(`\ud800`)},
		{`true`, true}, {`false`, flag(false)},
		{`5`, 5}, {`-5`, -5}, {`-0`, 0}, {`2147483647`, int32(math.MaxInt32)}, {`-2147483648`, int32(math.MinInt32)},
		{`9223372036854775807`, int64(math.MaxInt64)}, {`-9223372036854775808`, int64(math.MinInt64)},
		{`127`, int8(127)}, {`-128`, small(-128)}, {`65535`, uint16(65535)},
		{`18446744073709551615`, uint64(math.MaxUint64)}, {`0`, uint(0)}, {`1000`, time.Duration(1000)},
		{`1`, 1.0}, {`-1.5e3`, -1500.0}, {`1e308`, 1e308}, {`1e-400`, 0.0}, {`0.5`, float32(0.5)}, {`1e2`, ratio(100)},
		{`"AQID"`, []byte{1, 2, 3}}, {`""`, []byte{}}, {`null`, []byte(nil)}, {`"AQ=="`, bytesOf{1}}, {`[1,2]`, [2]byte{1, 2}},
		{`[1,2]`, []int{1, 2}}, {`[]`, []int{}}, {` [ 1 , 2 ] `, []int{1, 2}}, {`[[1],[]]`, [][]int{{1}, {}}}, {`["a","b"]`, [2]string{"a", "b"}},
		{`{"a":1,"B":2}`, map[string]int{"a": 1, "B": 2}}, {`{}`, map[string]int{}}, {`{"1":"x"}`, map[int]string{1: "x"}},
		{`{"a":1}`, map[text]int{"a": 1}}, {`{"a":{"b":[1]}}`, map[string]map[string][]int{"a": {"b": {1}}}},
		{`5`, &five}, {`"2000-01-02T03:04:05Z"`, time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC)},
		{`"::1"`, netip.MustParseAddr("::1")}, {`1.50`, json.Number("1.50")}, {` {"a" : 1}`, json.RawMessage(`{"a" : 1}`)},

		// null binds to types that have a value for it.
		{`null`, ""}, {`null`, text("")}, {`null`, (*int)(nil)}, {`null`, (**int)(nil)}, {`null`, []int(nil)},
		{`null`, map[string]int(nil)}, {`null`, (*person)(nil)}, {`null`, (*[]int)(nil)}, {`null`, json.Number("")},
		{`[null]`, []string{""}}, {`[5,null]`, []*int{&five, nil}}, {`[null,[null]]`, [][]any{nil, {nil}}},
		{`[null]`, []any{nil}}, {`{"a":null}`, map[string]any{"a": nil}}, {`{"a":null}`, map[string]*int{"a": nil}},
		{`{"a":null}`, map[string][]int{"a": nil}}, {`{"a":null}`, map[string]string{"a": ""}},
		{`{"name":null,"value":1}`, person{Value: 1}}, {`[null]`, [1]*int{nil}},
		{`{"home":null,"many":null,"byName":null,"numbers":null,"any":null}`, contacts{}},
		{`{"any":{"a":[null,{"b":null}]}}`, contacts{Any: map[string]any{"a": []any{nil, map[string]any{"b": nil}}}}},
		// Properties without a field are ignored.
		{`{"name":"n","other":[{"x":null}],"value":1,"more":null}`, person{"n", 1}},
		{`{"hidden":null,"Hidden":null}`, renamed{}}, {`{"userID":null,"uid":5}`, renamed{UserID: 5}},
		// The string "null" is not null.
		{`{"name":"null","value":1}`, person{"null", 1}}, {`{"null":1}`, map[string]int{"null": 1}}, {`["null"]`, []string{"null"}},

		{`{"name":"n","value":1}`, person{"n", 1}}, {`{"Name":"n","Value":1}`, person{"n", 1}},
		{`{"nAME":"n","VALUE":1}`, person{"n", 1}}, {`{}`, person{}}, {`{"value":1,"name":"n"}`, person{"n", 1}},
		{`{"name":"a","name":"b","value":1,"Value":2}`, person{"b", 2}}, {`{"n\u0061me":"n"}`, person{Name: "n"}},
		{`{"uid":1,"urlPath":"p","quoted":"7"}`, renamed{UserID: 1, URLPath: "p", Quoted: 7}},
		{`{"UID":1,"URLPATH":"p"}`, renamed{UserID: 1, URLPath: "p"}},
		{`{"value":2,"id":"i","extra":1}`, outer{person{Value: 2}, &Base{ID: "i"}, 1}}, {`{"value":2}`, outer{person: person{Value: 2}}},
		{`{"home":{"name":"h"},"work":{"value":1},"many":[{"name":"m"},{}],"byName":{"x":{"value":2}},"numbers":[1],"any":1}`,
			contacts{&person{Name: "h"}, person{Value: 1}, []person{{Name: "m"}, {}}, map[string]person{"x": {Value: 2}}, []int{1}, 1.0}},
		{`{"A":null,"a":1}`, twoCases{nil, 1}}, {`{"A":5}`, twoCases{Upper: &five}},

		// Types with an UnmarshalJSON method receive null within their value, and by itself if they can be null.
		{`5`, rawRecorder{"5"}}, {`{"a" : null}`, rawRecorder{`{"a" : null}`}},
		{`[[null],1]`, []rawRecorder{{"[null]"}, {"1"}}}, {`{"a":[null]}`, map[string]rawRecorder{"a": {"[null]"}}},
		{`{"s":[null]}`, struct{ S rawRecorder }{rawRecorder{"[null]"}}},
		{`null`, (*rawRecorder)(nil)}, {`[null,5]`, []*rawRecorder{nil, {"5"}}}, {`5`, &rawRecorder{"5"}},
		{`null`, json.RawMessage(`null`)}, {`null`, (*time.Time)(nil)}, {`"x"`, textOnly{"<x>"}},
		{`"null"`, textOnly{"<null>"}}, {`["x"]`, []*textOnly{{"<x>"}}},
	} {
		t.Run(fmt.Sprintf("%T from %s", test.want, test.argument), func(t *testing.T) {
			got, err := bind(test.argument, reflect.TypeOf(test.want))
			require.NoError(t, err, "%v", errors.Unwrap(err))
			assert.Equal(t, test.want, got)
		})
	}
}

func TestBindAny(t *testing.T) {
	for argument, want := range map[string]any{
		`null`: nil, `true`: true, `1`: 1.0, `-0.5e1`: -5.0, `"x"`: "x", `[]`: []any{}, `{}`: map[string]any{},
		`[1,"a",null,[{}]]`:           []any{1.0, "a", nil, []any{map[string]any{}}},
		`{"A":{"b":null},"a":[true]}`: map[string]any{"A": map[string]any{"b": nil}, "a": []any{true}},
		`"\ud83d\ude00"`:              "😀", `{"\u0061":"\\u"}`: map[string]any{"a": `\u`},
	} {
		got, err := bind(argument, reflect.TypeFor[any]())
		require.NoError(t, err, argument)
		assert.Equal(t, want, got, argument)
	}
}

func TestBindErrors(t *testing.T) {
	for _, test := range []struct {
		typ       reflect.Type
		arguments []string
	}{
		{reflect.TypeFor[int](), []string{
			`1.0`, `1.5`, `0.5`, `1e0`, `1e3`, `1.5e1`, `9223372036854775808`, `-9223372036854775809`,
			strings.Repeat("9", 100), `1e400`, `"1"`, `" 1 "`, `""`, `true`, `null`, `[]`, `[1]`, `{}`,
		}},
		{reflect.TypeFor[int32](), []string{`2147483648`, `-2147483649`, `1.0`, `null`, `"1"`}},
		{reflect.TypeFor[int64](), []string{`9223372036854775808`, `1.0`, `1e1`, `null`}},
		{reflect.TypeFor[int8](), []string{`128`, `-129`, `1.0`, `null`}},
		{reflect.TypeFor[small](), []string{`128`, `1.0`, `null`, `"1"`}},
		{reflect.TypeFor[uint8](), []string{`256`, `-1`, `1.0`, `null`, `"1"`}},
		{reflect.TypeFor[uint64](), []string{`18446744073709551616`, `-1`, `1.5`, `null`}},
		{reflect.TypeFor[float64](), []string{`1e400`, `-1e400`, `"1"`, `null`, `true`, `"NaN"`, `[]`}},
		{reflect.TypeFor[float32](), []string{`1e39`, `null`, `"1"`}},
		{reflect.TypeFor[bool](), []string{`null`, `1`, `0`, `"true"`, `[]`, `{}`}},
		{reflect.TypeFor[string](), []string{
			`1`, `true`, `[]`, `["x"]`, `{}`, `"\ud83d"`, `"a\ud83dz"`, `"a\ude00z"`, `"\ude00\ud83d"`,
			`"\ud83d\ud83d"`, `"\\\ud83d"`,
		}},
		{reflect.TypeFor[text](), []string{`1`, `"\ud83d"`, `"a\uDE00z"`}},
		{reflect.TypeFor[any](), []string{`"\ud83d"`, `["\ude00"]`, `{"a":"\ud83d"}`, `{"\ud83d":1}`, `[[["a",{"b":"\ude00\ud83d"}]]]`, `1e400`}},
		{reflect.TypeFor[[]string](), []string{`"x"`, `{}`, `[1]`, `["\ud83d"]`, `true`}},
		{reflect.TypeFor[[]int](), []string{`[1.5]`, `["1"]`, `[null]`, `[1,null]`, `[[1]]`, `{}`, `1`, `"AQ=="`}},
		{reflect.TypeFor[[2]int](), []string{`[null,1]`, `{}`, `null`}},
		{reflect.TypeFor[[][]int](), []string{`[[1],[null]]`, `[1]`}},
		{reflect.TypeFor[[]byte](), []string{`"!"`, `"AQ"`, `"-_-_"`, `1`, `{}`, `[256]`}},
		{reflect.TypeFor[map[string]int](), []string{`[]`, `{"a":null}`, `{"a":1,"b":null}`, `{"a":"1"}`, `{"\ud83d":1}`, `1`}},
		{reflect.TypeFor[map[int]int](), []string{`{"a":1}`, `{"":1}`, `{"1.5":1}`}},
		{reflect.TypeFor[map[string][]int](), []string{`{"a":[null]}`}},
		{reflect.TypeFor[map[string]map[string]bool](), []string{`{"a":{"b":null}}`}},
		{reflect.TypeFor[*int](), []string{`1.5`, `"1"`, `[null]`}},
		{reflect.TypeFor[*[]int](), []string{`[null]`}},
		{reflect.TypeFor[**person](), []string{`{"value":null}`}},
		{reflect.TypeFor[person](), []string{
			`null`, `[]`, `"x"`, `1`, `{"value":null}`, `{"name":"n","Value":null}`, `{"VALUE":null}`, `{"v\u0061lue":null}`,
			`{"value":"1"}`, `{"value":1.5}`, `{"name":1}`, `{"name":"\ud83d"}`,
			`{"unknown":"\ud83d"}`, `{"value":null,"value":1}`, `{"value":1,"value":null}`,
		}},
		{reflect.TypeFor[contacts](), []string{
			`{"home":{"value":null}}`, `{"work":null}`, `{"work":{"value":null}}`, `{"many":[null]}`,
			`{"many":[{},{"value":null}]}`, `{"byName":{"x":null}}`, `{"byName":{"x":{"value":null}}}`, `{"numbers":[null]}`,
			`{"any":"\ud83d"}`,
		}},
		{reflect.TypeFor[renamed](), []string{`{"uid":null}`, `{"UID":null}`, `{"quoted":7}`, `{"quoted":null}`}},
		{reflect.TypeFor[outer](), []string{`{"value":null}`, `{"extra":null}`}},
		{reflect.TypeFor[twoCases](), []string{`{"a":null}`}},
		{reflect.TypeFor[textOnly](), []string{`null`, `1`, `{}`, `"\ud83d"`}},
		{reflect.TypeFor[netip.Addr](), []string{`null`, `"x"`}},
		{reflect.TypeFor[time.Time](), []string{`"x"`, `1`, `"2020-02-30T00:00:00Z"`, `null`}},
		{reflect.TypeFor[rawRecorder](), []string{`null`}},
		{reflect.TypeFor[[]rawRecorder](), []string{`[null,1]`, `[1,null]`}},
		{reflect.TypeFor[map[string]rawRecorder](), []string{`{"a":null}`}},
		{reflect.TypeFor[struct{ S rawRecorder }](), []string{`{"s":null}`}},
		{reflect.TypeFor[failingUnmarshaler](), []string{`null`, `1`, `{}`}},
		{reflect.TypeFor[[]failingUnmarshaler](), []string{`[null]`}},
		{reflect.TypeFor[func()](), []string{`1`, `null`}},
		{reflect.TypeFor[chan int](), []string{`1`, `null`}},
		{reflect.TypeFor[error](), []string{`"x"`, `{}`}},
	} {
		for _, argument := range test.arguments {
			t.Run(fmt.Sprintf("%s from %s", test.typ, argument), func(t *testing.T) {
				_, err := bind(argument, test.typ)
				assert.Error(t, requireBindError(t, err, errorBinding).Cause)
			})
		}
	}
}

func TestErrorOfUnmarshalerIsWrapped(t *testing.T) {
	_, err := bind(`1`, reflect.TypeFor[failingUnmarshaler]())
	assert.ErrorIs(t, err, errRefused)
	var wrongType *json.UnmarshalTypeError
	_, err = bind(`1`, reflect.TypeFor[string]())
	assert.ErrorAs(t, err, &wrongType)
}

func TestBindNullMatchesFieldNamesLikeEncodingJSON(t *testing.T) {
	// encoding/json folds the long s and the Kelvin sign as well, so null must be refused under such a name.
	type fields struct{ Size, Kind int }
	for _, name := range []string{"size", "SIZE", "ſize", `\u017fize`, "Kind", `\u212aind`} {
		got, err := bind(`{"`+name+`":5}`, reflect.TypeFor[fields]())
		require.NoError(t, err)
		require.NotEqual(t, fields{}, got, name)
		_, err = bind(`{"`+name+`":null}`, reflect.TypeFor[fields]())
		assert.Error(t, err, name)
	}
}

func TestBindSeveral(t *testing.T) {
	var (
		s string
		n int
		p person
		l []string
		a any
	)
	params := []reflect.Value{
		reflect.ValueOf(&s).Elem(), reflect.ValueOf(&n).Elem(), reflect.ValueOf(&p).Elem(), reflect.ValueOf(&l).Elem(),
		reflect.ValueOf(&a).Elem(),
	}
	require.NoError(t, hubproto.JSON.BindArguments([]byte("[ \"x,]\" , 5 ,\n{\"name\":\"]\",\"value\":1} , [ \"a\" , \"b\" ] ,{} ]"), params))
	assert.Equal(t, "x,]", s)
	assert.Equal(t, 5, n)
	assert.Equal(t, person{"]", 1}, p)
	assert.Equal(t, []string{"a", "b"}, l)
	assert.Equal(t, map[string]any{}, a)

	err := hubproto.JSON.BindArguments([]byte(`["x",5,{"value":null},[],{}]`), params)
	requireBindError(t, err, errorBinding)
}

func TestBindCounts(t *testing.T) {
	list := func(n int) string {
		elements := make([]string, n)
		for i := range elements {
			elements[i] = strconv.Itoa(i)
		}
		return "[" + strings.Join(elements, ",") + "]"
	}
	counts := []int{0, 1, 2, 7, 8, 9, 10, 100}
	for _, given := range counts {
		for _, expected := range counts {
			values := make([]int, expected)
			params := make([]reflect.Value, expected)
			for i := range params {
				params[i] = reflect.ValueOf(&values[i]).Elem()
			}
			err := hubproto.JSON.BindArguments([]byte(list(given)), params)
			if given != expected {
				cause := requireBindError(t, err, fmt.Sprintf("Invocation provides %d argument(s) but target expects %d.", given, expected)).Cause
				require.NoError(t, cause)
				continue
			}
			require.NoError(t, err)
			for i, v := range values {
				require.Equal(t, i, v)
			}
		}
	}
	require.NoError(t, hubproto.JSON.BindArguments([]byte("[ \n]"), nil))
	// A wrong type is reported before a wrong count, but only for arguments that have a parameter.
	for arguments, text := range map[string]string{
		`["x","y"]`:      errorBinding,
		`["x"]`:          errorBinding,
		`[1]`:            "Invocation provides 1 argument(s) but target expects 2.",
		`[1,2,"x"]`:      "Invocation provides 3 argument(s) but target expects 2.",
		`[1,"x","y"]`:    errorBinding,
		`[1,2,"\ud83d"]`: "Invocation provides 3 argument(s) but target expects 2.",
	} {
		var n [2]int
		err := hubproto.JSON.BindArguments([]byte(arguments), []reflect.Value{reflect.ValueOf(&n[0]).Elem(), reflect.ValueOf(&n[1]).Elem()})
		requireBindError(t, err, text)
	}
}

func TestBoundValuesDoNotShareRecord(t *testing.T) {
	// The buffer of a record is overwritten by the next message.
	type all struct {
		S string
		R json.RawMessage
		N json.Number
		B []byte
		M map[string]string
		A any
	}
	record := []byte(`{"type":1,"target":"T","arguments":["text",{"s":"s","r":[1],"n":12,"b":"AQID","m":{"k":"v"},"a":["x"]},"named"]}`)
	var m hubproto.Message
	require.NoError(t, hubproto.JSON.Parse(record, &m))
	var s string
	var v all
	var n text
	require.NoError(t, hubproto.JSON.BindArguments(m.Arguments, []reflect.Value{
		reflect.ValueOf(&s).Elem(), reflect.ValueOf(&v).Elem(), reflect.ValueOf(&n).Elem(),
	}))
	for i := range record {
		record[i] = '#'
	}
	assert.Equal(t, "text", s)
	assert.Equal(t, all{"s", json.RawMessage(`[1]`), "12", []byte{1, 2, 3}, map[string]string{"k": "v"}, []any{"x"}}, v)
	assert.Equal(t, text("named"), n)
}

func TestBindDoesNotChangeArguments(t *testing.T) {
	arguments := []byte(`["a\u0062",{"name":"\"","value":1},null]`)
	before := string(arguments)
	var s string
	var p person
	var a any
	require.NoError(t, hubproto.JSON.BindArguments(arguments, []reflect.Value{
		reflect.ValueOf(&s).Elem(), reflect.ValueOf(&p).Elem(), reflect.ValueOf(&a).Elem(),
	}))
	assert.Equal(t, before, string(arguments))
}

func TestBindNullAtMaxDepth(t *testing.T) {
	// The deepest nesting that the parser accepts for arguments, with null as the innermost value.
	var typ = reflect.TypeFor[*int]()
	for range hubproto.MaxDepth - 2 {
		typ = reflect.SliceOf(typ)
	}
	got, err := bind(strings.Repeat("[", hubproto.MaxDepth-2)+"null"+strings.Repeat("]", hubproto.MaxDepth-2), typ)
	require.NoError(t, err)
	assert.Equal(t, typ, reflect.TypeOf(got))
	_, err = bind(strings.Repeat("[", 5)+"null"+strings.Repeat("]", 5), reflect.TypeFor[[][][][][]int]())
	requireBindError(t, err, errorBinding)
	list, err := bind(strings.Repeat(`{"next":`, 60)+"null"+strings.Repeat("}", 60), reflect.TypeFor[*node]())
	require.NoError(t, err)
	assert.Equal(t, listOf(60), list)
}
