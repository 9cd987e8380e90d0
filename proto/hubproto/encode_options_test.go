package hubproto_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

type (
	valueZero struct {
		V int `json:"v"`
	}
	pointerZero struct {
		V int `json:"v"`
	}
	hidden struct {
		V int `json:"v"`
	}
	zeroer interface{ IsZero() bool }
)

func (z valueZero) IsZero() bool    { return z.V == 1 }
func (z *pointerZero) IsZero() bool { return z.V == 1 }

// tagged has a field for each combination of tag option and kind.
type tagged struct {
	S   string            `json:"s,omitempty"`
	I   int               `json:"i,omitempty"`
	F   float64           `json:"f,omitempty"`
	B   bool              `json:"b,omitempty"`
	P   *int              `json:"p,omitempty"`
	A   any               `json:"a,omitempty"`
	L   []int             `json:"l,omitempty"`
	M   map[string]int    `json:"m,omitempty"`
	Arr [0]int            `json:"arr,omitempty"`
	Ar2 [2]int            `json:"ar2,omitempty"`
	St  struct{}          `json:"st,omitempty"`
	T   time.Time         `json:"t,omitempty"`
	ZS  string            `json:"zs,omitzero"`
	ZL  []int             `json:"zl,omitzero"`
	ZM  map[string]string `json:"zm,omitzero"`
	ZA  [2]int            `json:"za,omitzero"`
	ZSt hidden            `json:"zst,omitzero"`
	ZT  time.Time         `json:"zt,omitzero"`
	ZP  *time.Time        `json:"zp,omitzero"`
	ZB  valueZero         `json:"zb,omitzero"`
	ZBP *valueZero        `json:"zbp,omitzero"`
	QI  int               `json:"qi,string"`
	QS  string            `json:"qs,string"`
	QB  bool              `json:"qb,string"`
	QF  float32           `json:"qf,string"`
	QP  *int64            `json:"qp,string"`
	QN  json.Number       `json:"qn,string"`
	QL  []int             `json:"ql,string"`
	QA  any               `json:"qa,string"`
	QO  uint8             `json:"qo,omitempty,string"`
	QPP **int             `json:"qpp,string"`
}

func TestTagOptionsAgreeWithEncodingJSON(t *testing.T) {
	five, now := 5, time.Now()
	for name, v := range map[string]any{
		"all zero": tagged{},
		"all set": tagged{
			S: "s", I: 1, F: 0.5, B: true, P: new(int), A: 0, L: []int{0}, M: map[string]int{"": 0}, Ar2: [2]int{1, 2}, T: now,
			ZS: "s", ZL: []int{1}, ZM: map[string]string{"a": ""}, ZA: [2]int{0, 1}, ZSt: hidden{1}, ZT: now, ZP: &now,
			ZB: valueZero{2}, ZBP: &valueZero{2},
			QI: -1, QS: "\"q\"", QB: true, QF: 0.1, QP: pointer(int64(math.MaxInt64)), QN: "12", QL: []int{1}, QA: 1, QO: 1, QPP: pointer(&five),
		},
		"empty but not zero": tagged{
			A: "", L: []int{}, M: map[string]int{}, ZL: []int{}, ZM: map[string]string{}, ZP: &time.Time{}, QA: "x",
			QPP: new(*int),
		},
		"zero according to IsZero": tagged{ZB: valueZero{1}, ZBP: &valueZero{1}, QN: "1.5"},
		"minus zero":               tagged{F: math.Copysign(0, -1), QF: float32(math.Copysign(0, -1))},
		"bad number":               tagged{QN: "x"},

		"pointer receiver of IsZero": struct {
			Z pointerZero `json:"z,omitzero"`
		}{pointerZero{1}},
		"pointer receiver of IsZero, with an address": &struct {
			Z pointerZero `json:"z,omitzero"`
		}{pointerZero{1}},
		"pointer receiver of IsZero, not zero according to it": struct {
			Z pointerZero `json:"z,omitzero"`
		}{},
		"the zero of an interface is nil": struct {
			Z any `json:"z,omitzero"`
		}{time.Time{}},
		"interface with IsZero": struct {
			Z zeroer `json:"z,omitzero"`
		}{time.Time{}},
		"interface with IsZero, nil": struct {
			Z zeroer `json:"z,omitzero"`
		}{},
		"interface with IsZero, nil within": struct {
			Z zeroer `json:"z,omitzero"`
		}{(*pointerZero)(nil)},
		"embedded, not exported, omitzero": struct {
			hidden `json:"h,omitzero"`
		}{},
		"embedded, not exported, omitzero, with a value": struct {
			hidden `json:"h,omitzero"`
		}{hidden{1}},
		"string option of an int with MarshalJSON": struct {
			M intM  `json:"m,string"`
			N *intM `json:"n,string"`
		}{5, pointer(intM(6))},
		"string option of an int with MarshalJSON of its pointer": &struct {
			M intPM `json:"m,string"`
		}{5},
		"string option of an int with a text": struct {
			T intT `json:"t,string"`
		}{5},
		"string option of any": struct {
			A any `json:"a,string"`
		}{true},
		"unknown options": struct {
			A int `json:"a,omitnothing,string,omitempty"`
		}{1},
		"odd names": struct {
			A int `json:"a b"`
			B int `json:"ä/.#$%&*+-:;<=>?@[]^_{|}~"`
			C int `json:"1"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { // continue with the other cases after a panic
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
				}
			}()
			requireLikeEncodingJSON(t, v)
			requireLikeEncodingJSON(t, pointerTo(v))
			requireLikeEncodingJSON(t, []any{v, map[string]any{"x": v}})
		})
	}
}

func TestInvalidNamesInTagsAreIgnored(t *testing.T) {
	// A tag that encoding/json does not accept as a name is ignored.
	for _, tag := range []string{`a'b`, `a\"b`, `a\\b`, `a\tb`} {
		typ := reflect.StructOf([]reflect.StructField{
			{Name: "SomeName", Type: reflect.TypeFor[int](), Tag: reflect.StructTag(`json:"` + tag + `"`)},
		})
		std, err := json.Marshal(reflect.Zero(typ).Interface())
		require.NoError(t, err)
		require.Equal(t, `{"SomeName":0}`, string(std))
		assert.Equal(t, `{"someName":0}`, encoded(t, reflect.Zero(typ).Interface()), tag)
	}
}

type (
	TA struct {
		X int `json:"x"`
		Y int `json:"y"`
	}
	TB struct {
		X int `json:"x"`
		Z int `json:"z"`
	}
	TC struct {
		TA
		Y int `json:"y"`
	}
	TD struct {
		*TA
		*TB
	}
	TE struct {
		TA `json:"ta"`
		*TE
		N int `json:"n"`
	}
	TF struct {
		*TC
		*TA
	}
	TG struct {
		*TD
		*TC
	}
)

func TestEmbeddedStructsAgreeWithEncodingJSON(t *testing.T) {
	a, b := TA{1, 2}, TB{3, 4}
	for _, v := range []any{
		a, TC{a, 5}, TD{&a, &b}, TD{&a, nil}, TD{}, TE{TA: a, N: 1}, TE{TA: a, TE: &TE{N: 2}, N: 1},
		TF{&TC{a, 5}, &TA{6, 7}}, TF{&TC{a, 5}, nil}, TG{&TD{&a, &b}, &TC{a, 5}}, TG{},
		struct {
			TA
			TB `json:"tb"`
		}{a, b},
		struct {
			*TF `json:"-"`
			*TG
		}{},
	} {
		requireLikeEncodingJSON(t, v)
		requireLikeEncodingJSON(t, pointerTo(v))
	}
}

var declaredNames = hubproto.JSONOptions{DeclaredNames: true}.Protocol()

// encodedAsDeclared returns v as it is encoded with declared names.
func encodedAsDeclared(t require.TestingT, v any) string {
	record, err := declaredNames.AppendResult(nil, []byte("1"), v)
	require.NoError(t, err)
	return strings.TrimSuffix(strings.TrimPrefix(string(record), resultHead), resultTail)
}

type declaredInner struct {
	InnerName string
	Tagged    int `json:"innerTag"`
}

type declaredOuter struct {
	declaredInner
	*Base
	URLPath string
	UserID  string `json:"userId"`
	Default int    `json:",omitempty"`
	Hidden  int    `json:"-"`
	Dash    int    `json:"-,"`
	List    []declaredInner
	Map     map[string]declaredInner
	Any     any
	Quoted  int `json:",string"`
}

func TestDeclaredNamesAreThoseOfEncodingJSON(t *testing.T) {
	inner := declaredInner{"n", 1}
	for _, v := range []any{
		declaredOuter{}, &declaredOuter{Base: &Base{"1", "b"}}, inner, []any{inner, &inner},
		declaredOuter{declaredInner: inner, URLPath: "p", UserID: "u", Default: 1, Hidden: 2, Dash: 3, List: []declaredInner{inner}, Map: map[string]declaredInner{"K": inner}, Any: inner, Quoted: 4},
		struct {
			declaredInner `json:"named"`
			Chain         *Chain
		}{inner, &Chain{&Chain{nil, 1}, 2}},
		struct { // two names that are one in camel case
			ID  int
			Id2 int `json:"id"`
		}{1, 2},
	} {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, string(want), encodedAsDeclared(t, v))
		require.NotEqual(t, string(want), encoded(t, v)) // the names of the default stay apart
	}
}

func TestDeclaredNamesDifferInCaseAlone(t *testing.T) {
	require.Equal(t, `{"ID":1,"id":2}`, encodedAsDeclared(t, struct {
		ID  int
		Id2 int `json:"id"`
	}{1, 2}))
}

func TestDeclaredNamesHoldForWholeMessages(t *testing.T) {
	type point struct{ X, Y int }
	require.Equal(t, "json", declaredNames.Name())
	record, err := declaredNames.AppendInvocation(nil, nil, "receive", []any{point{1, 2}})
	require.NoError(t, err)
	require.Equal(t, `{"type":1,"target":"receive","arguments":[{"X":1,"Y":2}]}`+"\x1e", string(record))
	record, err = declaredNames.AppendItem(nil, []byte("1"), point{1, 2})
	require.NoError(t, err)
	require.Equal(t, `{"type":2,"invocationId":"1","item":{"X":1,"Y":2}}`+"\x1e", string(record))
}

func TestBothNamesOfFieldsAreRead(t *testing.T) {
	for _, p := range []hubproto.Protocol{hubproto.JSON, declaredNames} {
		for _, text := range []string{
			`{"InnerName":"i","innerTag":1,"URLPath":"p","userId":"u","Quoted":"4","List":[{"InnerName":"x"}]}`,
			`{"innerName":"i","innerTag":1,"urlPath":"p","userId":"u","quoted":"4","list":[{"innerName":"x"}]}`,
		} {
			var got declaredOuter
			require.NoError(t, p.BindArguments([]byte("["+text+"]"), []reflect.Value{reflect.ValueOf(&got).Elem()}))
			want := declaredOuter{declaredInner: declaredInner{"i", 1}, URLPath: "p", UserID: "u", Quoted: 4, List: []declaredInner{{InnerName: "x"}}}
			require.Equal(t, want, got, text)
		}
	}
}
