package hubproto_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

type (
	Base   struct{ ID, Name string }
	base   struct{ Inner, URLPath string }
	Deeper struct{ Base }
	Tagged struct {
		X string `json:"id"`
	}
	Plain  struct{ ID string }
	Other  struct{ ID, More string }
	Number int
	number int
	Chain  struct {
		*Chain
		Link int
	}
	named struct {
		UserID    string
		URLPath   string `json:"path"`
		GUID      string `json:",omitempty"`
		Hidden    string `json:"-"`
		Dash      string `json:"-,"`
		Kept      int    `json:"Kept"`
		unseen    string
		Other     any `xml:"ignored"`
		LastValue *int
	}
)

type Deep struct{ Tagged }

type (
	text             string
	flag             bool
	small            int8
	ratio            float32
	bytesOf          []byte
	octet            byte
	valueM           struct{ S string }
	pointerM         struct{ S string }
	valueT           struct{ S string }
	pointerT         struct{ S string }
	bothMT           struct{ S string } // its MarshalJSON has a pointer receiver and its MarshalText a value receiver
	intM             int
	intPM            int
	intT             int
	mapM             map[string]int
	sliceM           []int
	octetM           byte
	keyT             struct{ A, B int }
	keyInt           int
	spacedJSON       struct{}
	invalidJSON      struct{}
	rawSeparatorJSON struct{}
)

func (m valueM) MarshalJSON() ([]byte, error)         { return json.Marshal("value " + m.S) }
func (m *pointerM) MarshalJSON() ([]byte, error)      { return json.Marshal("pointer " + m.S) }
func (m valueT) MarshalText() ([]byte, error)         { return []byte("value text " + m.S), nil }
func (m *pointerT) MarshalText() ([]byte, error)      { return []byte("pointer text " + m.S), nil }
func (m *bothMT) MarshalJSON() ([]byte, error)        { return json.Marshal("json " + m.S) }
func (m bothMT) MarshalText() ([]byte, error)         { return []byte("text " + m.S), nil }
func (m intM) MarshalJSON() ([]byte, error)           { return fmt.Appendf(nil, "[%d]", int(m)), nil }
func (m *intPM) MarshalJSON() ([]byte, error)         { return fmt.Appendf(nil, "[%d]", int(*m)), nil }
func (m intT) MarshalText() ([]byte, error)           { return fmt.Appendf(nil, "#%d", int(m)), nil }
func (m mapM) MarshalJSON() ([]byte, error)           { return fmt.Appendf(nil, "%d", len(m)), nil }
func (m sliceM) MarshalJSON() ([]byte, error)         { return fmt.Appendf(nil, "%d", len(m)), nil }
func (m octetM) MarshalJSON() ([]byte, error)         { return fmt.Appendf(nil, `"%d"`, byte(m)), nil }
func (k keyT) MarshalText() ([]byte, error)           { return fmt.Appendf(nil, "%d/%d", k.A, k.B), nil }
func (k keyInt) MarshalText() ([]byte, error)         { return fmt.Appendf(nil, "key %d", int(k)), nil }
func (spacedJSON) MarshalJSON() ([]byte, error)       { return []byte(" {\n\"a\" : \"<\u2028>\" }\n"), nil }
func (invalidJSON) MarshalJSON() ([]byte, error)      { return []byte(`{"a":`), nil }
func (rawSeparatorJSON) MarshalJSON() ([]byte, error) { return []byte("\"a\x1eb\""), nil }

// node is a linked list, each node of which adds a level of nesting.
type node struct {
	Next *node `json:"next"`
}

func listOf(n int) *node {
	var head *node
	for range n {
		head = &node{head}
	}
	return head
}

func nestedSlices(n int) any {
	var v any = 1
	for range n {
		v = []any{v}
	}
	return v
}

func nestedMaps(n int) any {
	var v any = "x"
	for range n {
		v = map[string]any{"a": v}
	}
	return v
}

func nestedTypes(n int) any {
	v := reflect.ValueOf(1)
	for range n {
		slice := reflect.MakeSlice(reflect.SliceOf(v.Type()), 1, 1)
		slice.Index(0).Set(v)
		v = slice
	}
	return v.Interface()
}

type (
	person struct {
		Name  string
		Value int
	}
	contacts struct {
		Home    *person
		Work    person
		Many    []person
		ByName  map[string]person
		Numbers []int
		Any     any
	}
	renamed struct {
		UserID  int `json:"uid"`
		URLPath string
		Hidden  int `json:"-"`
		Quoted  int `json:",string"`
	}
	outer struct {
		person
		*Base
		Extra int
	}
	twoCases struct {
		Upper *int `json:"A"`
		Lower int  `json:"a"`
	}
	// rawRecorder stores the JSON that it is decoded from.
	rawRecorder struct{ Raw string }
	// textOnly can be decoded from strings only.
	textOnly struct{ Text string }
	// failingUnmarshaler cannot be decoded from anything.
	failingUnmarshaler struct{}
)

var errRefused = errors.New("refused")

func (s *rawRecorder) UnmarshalJSON(raw []byte) error  { s.Raw = string(raw); return nil }
func (l *textOnly) UnmarshalText(text []byte) error    { l.Text = "<" + string(text) + ">"; return nil }
func (*failingUnmarshaler) UnmarshalJSON([]byte) error { return errRefused }

var errFailing = errors.New("will not be written")

type failingMarshaler struct{}

func (failingMarshaler) MarshalJSON() ([]byte, error) { return nil, errFailing }

// stage is an enumeration with text names.
type stage int

var (
	stageNames = []string{"", "open", "at work", "fertig ✔", "done"}
	errNoStage = errors.New("no such stage")
)

func (s stage) MarshalText() ([]byte, error) {
	if s < 0 || int(s) >= len(stageNames) {
		return nil, errNoStage
	}
	return []byte(stageNames[s]), nil
}

func (s *stage) UnmarshalText(text []byte) error {
	for i, name := range stageNames {
		if name == string(text) {
			*s = stage(i)
			return nil
		}
	}
	return errNoStage
}

// allKinds has a field of each kind that binding treats in a way of its own.
type allKinds struct {
	S   string
	T   text
	I   int
	I8  int8
	U   uint64
	F   float32
	B   bool
	P   *int
	PP  **allKinds
	L   []int
	LS  []string
	LP  []*bool
	A   [2]int
	By  []byte
	M   map[string]int
	MI  map[int]*allKinds
	Any any
	Raw json.RawMessage
	Num json.Number
	Own rawRecorder
	Txt textOnly
	URL string
	Q   int `json:"q,string"`
	person
	*Base
}

type (
	concealed struct{ Inner string }
	// behindPointer has fields that no decoder can set.
	behindPointer struct {
		*concealed
		Extra int
	}
	keyed struct{ Any any }
)
