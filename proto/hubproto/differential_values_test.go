package hubproto_test

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"time"
)

type (
	// sample has a field of each kind that the protocols encode in a way of their own.
	sample struct {
		Flag    bool
		I8      int8
		I16     int16
		I32     int32
		I64     int64
		Int     int `json:"int,omitempty"`
		U8      uint8
		U16     uint16
		U32     uint32
		U64     uint64
		F32     float32
		F64     float64 `json:"ratio"`
		Text    string
		Named   text `json:"näme"`
		Bytes   []byte
		Octets  [3]byte
		Ints    []int
		Texts   []string `json:",omitempty"`
		Lists   [][]float64
		ByName  map[string]string
		ByNum   map[int8]stage
		ByStage map[stage]*person
		P       *int
		PP      **string
		Who     person
		Whom    *person
		Crowd   []person
		Inner   *sample `json:"inner,omitempty"`
		At      time.Time
		Until   *time.Time `json:"until,omitzero"`
		Times   []time.Time
		Stage   stage
		Stages  []stage
		Quoted  uint64 `json:"quoted,string"`
		QP      *int32 `json:",string"`
		Lasting time.Duration
		Any     any
		More    []any
		ByKey   map[string]any
		Base
		*Deeper2
		Last any
	}
	Deeper2 struct{ Depth uint16 }
)

// valueSource derives values from bytes. After the last byte all values are zero.
type valueSource struct {
	rest           []byte
	interfaceDepth int // number of interfaces around the value that is being derived
}

func (s *valueSource) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *valueSource) below(n int) int { return int(s.byte()) % n }
func (s *valueSource) bool() bool      { return s.byte()&1 == 1 }

func (s *valueSource) bytes(n int) []byte {
	b := make([]byte, n)
	s.rest = s.rest[copy(b, s.rest):]
	return b
}

// number returns integers of all sizes, including values next to powers of two.
func (s *valueSource) number() uint64 {
	switch c := s.byte(); c % 8 {
	case 0, 1:
		return uint64(s.byte())
	case 2:
		return -uint64(s.byte())
	case 3:
		return uint64(1)<<(c/8) - uint64(s.byte()%3) + 1
	case 4:
		return -(uint64(1)<<(c/8+32) - uint64(s.byte()%3) + 1)
	case 5:
		return uint64(1)<<(c/8+32) - uint64(s.byte()%3) + 1
	case 6:
		return uint64(binary.BigEndian.Uint32(s.bytes(4)))
	}
	return binary.BigEndian.Uint64(s.bytes(8))
}

func (s *valueSource) float() float64 {
	var f float64
	switch s.below(4) {
	case 0:
		f = float64(int64(s.number()))
	case 1:
		f = float64(int64(s.number())) / 1000
	case 2:
		f = []float64{0, math.Copysign(0, -1), 0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21, 1e-7, math.Pi}[s.below(8)]
	case 3:
		f = math.Float64frombits(s.number())
	}
	if math.IsNaN(f) || math.IsInf(f, 0) { // not representable in JSON
		return 1.5
	}
	return f
}

func (s *valueSource) text() string {
	if s.below(4) == 0 {
		return []string{
			"", "é", "汉字", "😀", "\x1e", "null", `\ud83d`, "<&>'\"\\", "\u2028\u0000\ufeff", strings.Repeat("x", 31),
			strings.Repeat("é", 16), strings.Repeat("x", 256), "true", "5", "\n\r\t\b\f",
		}[s.below(15)]
	}
	return strings.ToValidUTF8(string(s.bytes(s.below(40))), "?") // JSON replaces invalid UTF-8
}

func (s *valueSource) time() time.Time {
	seconds := int64(s.number())
	if seconds < -62135596800 || seconds > 253402300799 { // JSON supports the years 1 to 9999
		seconds %= 1 << 35
	}
	if seconds < -62135596800 || s.below(8) == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, int64(binary.BigEndian.Uint32(s.bytes(4))%1e9)*int64(s.below(2))).UTC()
}

// any returns a value of a random type for an interface.
func (s *valueSource) any(depth int) any {
	s.interfaceDepth++
	defer func() { s.interfaceDepth-- }()
	n := 12
	if depth <= 0 {
		n = 9
	}
	switch s.below(n) {
	case 0:
		return nil
	case 1:
		return s.bool()
	case 2:
		return s.text()
	case 3:
		return s.float()
	case 4:
		return int64(s.number())
	case 5:
		return s.number()
	case 6:
		return int(s.number())
	case 7:
		return s.time()
	case 8:
		return s.bytes(s.below(6))
	case 9:
		list := make([]any, s.below(4))
		for i := range list {
			list[i] = s.any(depth - 1)
		}
		return list
	case 10:
		m := map[string]any{}
		for range s.below(4) {
			m[s.text()] = s.any(depth - 1)
		}
		return m
	}
	v := reflect.New(differentialTypes[s.below(len(differentialTypes))]).Elem()
	s.fill(v, depth-1)
	return v.Interface()
}

// fill sets v to a value. v must be settable.
func (s *valueSource) fill(v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(s.time()))
		return
	case stage:
		v.SetInt(int64(s.below(len(stageNames))))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(s.bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(s.number()) << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(s.number() << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Float32:
		if s.interfaceDepth > 0 { // decoding into any yields different float64 values for the 32 bits and for their shortest decimal form
			v.SetFloat(float64(int8(s.byte())) / 4)
		} else if f := float32(s.float()); !math.IsInf(float64(f), 0) {
			v.SetFloat(float64(f))
		}
	case reflect.Float64:
		v.SetFloat(s.float())
	case reflect.String:
		v.SetString(s.text())
	case reflect.Pointer:
		if depth > 0 && s.bool() {
			v.Set(reflect.New(v.Type().Elem()))
			s.fill(v.Elem(), depth-1)
			if k := v.Elem().Kind(); (k == reflect.Pointer || k == reflect.Interface) && v.Elem().IsNil() {
				v.SetZero() // null decodes to a nil outer pointer
			}
		}
	case reflect.Interface:
		if value := s.any(depth - 1); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	case reflect.Slice:
		if depth > 0 && s.bool() {
			n := s.below(4)
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			s.fill(v.Index(i), depth-1)
		}
	case reflect.Map:
		if depth <= 0 || !s.bool() {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range s.below(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			s.fill(key, depth-1)
			s.fill(value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if len(s.rest) == 0 {
				return
			}
			s.fill(v.Field(i), depth-1)
		}
	}
}

var differentialTypes = []reflect.Type{
	reflect.TypeFor[sample](), reflect.TypeFor[*sample](), reflect.TypeFor[[]sample](), reflect.TypeFor[map[string]sample](),
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](),
	reflect.TypeFor[int32](), reflect.TypeFor[int64](),
	reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](),
	reflect.TypeFor[uint64](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](),
	reflect.TypeFor[text](), reflect.TypeFor[[]byte](), reflect.TypeFor[bytesOf](),
	reflect.TypeFor[[3]byte](), reflect.TypeFor[[][]byte](), reflect.TypeFor[[]int](), reflect.TypeFor[[]string](),
	reflect.TypeFor[[2][]bool](), reflect.TypeFor[map[string]int](), reflect.TypeFor[map[uint16]string](),
	reflect.TypeFor[map[string][]map[string]*int](),
	reflect.TypeFor[*int](), reflect.TypeFor[***string](), reflect.TypeFor[[]*bool](), reflect.TypeFor[time.Time](),
	reflect.TypeFor[*time.Time](), reflect.TypeFor[[]time.Time](), reflect.TypeFor[map[string]time.Time](),
	reflect.TypeFor[time.Duration](), reflect.TypeFor[stage](),
	reflect.TypeFor[*stage](), reflect.TypeFor[[]stage](), reflect.TypeFor[map[stage]stage](), reflect.TypeFor[person](),
	reflect.TypeFor[outer2](), reflect.TypeFor[contacts](), reflect.TypeFor[renamed2](), reflect.TypeFor[Chain](),
	reflect.TypeFor[struct{}](), reflect.TypeFor[any](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](),
}

type (
	outer2 struct {
		*Base
		Extra int
	}
	renamed2 struct {
		UserID  int `json:"uid"`
		URLPath string
		Quoted  int     `json:",string"`
		Ratio   float64 `json:",omitempty,string"`
	}
)

// normalize converts a value to the form that both protocols decode: in an interface, JSON yields float64 for all numbers, and strings
// for bytes and times.
func normalize(v any) any {
	rv := reflect.New(reflect.TypeOf(&v).Elem()).Elem()
	if v != nil {
		rv.Set(reflect.ValueOf(v))
	}
	return normalizeValue(rv).Interface()
}

func normalizeValue(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Interface:
		switch x := v.Interface().(type) {
		case nil:
		case int64:
			out.Set(reflect.ValueOf(float64(x)))
		case uint64:
			out.Set(reflect.ValueOf(float64(x)))
		case []byte:
			out.Set(reflect.ValueOf(base64.StdEncoding.EncodeToString(x)))
		case time.Time:
			out.Set(reflect.ValueOf(x.Format(time.RFC3339Nano)))
		default:
			out.Set(normalizeValue(reflect.ValueOf(x)))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(normalizeValue(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(normalizeValue(v.Index(i)))
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMap(v.Type()))
			for iter := v.MapRange(); iter.Next(); {
				out.SetMapIndex(iter.Key(), normalizeValue(iter.Value()))
			}
		}
	case reflect.Struct:
		out.Set(v)
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(normalizeValue(v.Field(i)))
			}
		}
	default:
		out.Set(v)
	}
	return out
}
