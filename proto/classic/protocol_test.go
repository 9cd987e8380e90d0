package classic_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/proto/hubproto"
)

const separator = string(rune(classic.Separator))

func TestTheProtocolIsText(t *testing.T) {
	p := classic.NewProtocol("Hub")
	assert.Equal(t, "signalr2", p.Name())
	assert.False(t, p.Binary())
}

func TestACallComesOutOfItsRecordAsItWentIn(t *testing.T) {
	p := classic.NewProtocol("Hub")
	texts := []string{"", "Echo", "a b", `"\`, "\x00\x1e\x1f\n\r\t", "é😀\u2028", `!!!|\CallMeBack,,,!!!`, strings.Repeat("x", 300)}
	ids := []*string{nil}
	for _, text := range []string{"", "0", "a b c", " ", "\n\t\x00\x7f", "é😀", `"I":1`, strings.Repeat("x", 256)} {
		ids = append(ids, &text)
	}
	for i, text := range texts {
		spelled := texts[(i+3)%len(texts)]
		for _, id := range ids {
			for _, state := range []string{"", `{}`, `{"a":"\u001e\u001f"}`} {
				in := &classic.Invocation{Hub: "Hub", Method: text, Arguments: []byte(`[1,"\u001e\u001f",{"a":[]}]`), State: []byte(state), ID: id}
				record := classic.AppendCall([]byte("before"), []byte("17"), spelled, in)
				require.Equal(t, "before", string(record[:6]))
				record = record[6:]
				n, err := p.Next(record, 0, 0)
				require.NoError(t, err)
				require.Len(t, record, n, "a single record")

				m := hubproto.Message{StreamIDs: [][]byte{[]byte("left over")}, ID: []byte("left over"), Value: []byte("left over")}
				require.NoError(t, p.Parse(record, &m))
				want := "17"
				if id != nil {
					want += " " + *id
				}
				require.Equal(t, hubproto.Invocation, m.Type)
				require.Equal(t, want, string(m.ID))
				require.Equal(t, text, string(m.Target))
				require.Equal(t, string(in.Arguments), string(m.Arguments))
				require.Empty(t, m.StreamIDs)
				require.Empty(t, m.Value)
				hub, method, raw := classic.Headers(m.Headers)
				require.Equal(t, spelled, hub)
				require.Equal(t, text, method)
				require.Equal(t, state, string(raw))
				require.Equal(t, 3, p.CountArguments(m.Arguments))
			}
		}
	}
}

func TestMalformedRecordsAreRefused(t *testing.T) {
	p := classic.NewProtocol("Hub")
	for _, record := range []string{
		"", separator, "1", "{}" + separator, "1\x1f\"m\"\x1f\"h\"\x1f" + separator, "1\x1fm\x1f\"h\"\x1f\x1f[]" + separator, "1\x1f\"m\x1f\"h\"\x1f\x1f[]" + separator,
		"1\x1f\x1f\"h\"\x1f\x1f[]" + separator, "1\x1f\"\\ud800\"\x1f\"h\"\x1f\x1f[]" + separator,
	} {
		var data *hubproto.DataError
		require.ErrorAs(t, p.Parse([]byte(record), &hubproto.Message{}), &data, "%q", record)
		require.NotEmpty(t, data.Text)
	}
	for _, headers := range []string{"", "x", "\"m\"\x1f\"h\""} {
		hub, method, state := classic.Headers([]byte(headers))
		require.Empty(t, hub+method+string(state))
	}
}

type point struct {
	X, Y  int
	Named string `json:"named,omitempty"`
}

// The texts are those that the original writes.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name, id string
		answer   classic.Answer
		want     string
	}{
		{"a result", "1 77", classic.Answer{Result: "x"}, `1 {"R":"x","I":"77"}`},
		{"nothing", "2 0", classic.Answer{}, `2 {"I":"0"}`},
		{"null", "2 0", classic.Answer{Result: (*point)(nil)}, `2 {"I":"0"}`},
		{"null by a marshaler", "2 0", classic.Answer{Result: json.RawMessage("null")}, `2 {"I":"0"}`},
		{"an object", "2 0", classic.Answer{Result: point{X: 1}}, `2 {"R":{"X":1,"Y":0},"I":"0"}`},
		{"false", "2 0", classic.Answer{Result: false}, `2 {"R":false,"I":"0"}`},
		{"zero", "2 0", classic.Answer{Result: 0}, `2 {"R":0,"I":"0"}`},
		{"an empty text", "2 0", classic.Answer{Result: ""}, `2 {"R":"","I":"0"}`},
		{"the text null", "2 0", classic.Answer{Result: "null"}, `2 {"R":"null","I":"0"}`},
		{"no id", "2", classic.Answer{Result: 1}, `2 {"R":1,"I":null}`},
		{"an empty id", "2 ", classic.Answer{Result: 1}, `2 {"R":1,"I":""}`},
		{"an odd id", "2 a \"\\\x1e é", classic.Answer{Result: 1}, `2 {"R":1,"I":"a \"\\\u001e é"}`},
		{"an error", "2 0", classic.Answer{Error: "message"}, `2 {"I":"0","E":"message"}`},
		{"an error without an id", "2", classic.Answer{Error: "message"}, `2 {"I":null,"E":"message"}`},
		{"an error of a hub", "2 0", classic.Answer{Error: "message", ForHub: true}, `2 {"I":"0","H":true,"E":"message"}`},
		{"an error with data", "2 0", classic.Answer{Error: "message", ForHub: true, Data: map[string]int{"a": 1}}, `2 {"I":"0","H":true,"E":"message","D":{"a":1}}`},
		{"an error with an object", "2 0", classic.Answer{Error: "e", ForHub: true, Data: point{Named: "n"}}, `2 {"I":"0","H":true,"E":"e","D":{"X":0,"Y":0,"named":"n"}}`},
		{"data without an error", "2 0", classic.Answer{Data: 1}, `2 {"I":"0"}`},
		{"an error to escape", "2 0", classic.Answer{Error: "\"\x1e\u2028"}, `2 {"I":"0","E":"\"\u001e\u2028"}`},
		{"state", "2 0", classic.Answer{State: map[string]any{"counter": 5, "other": struct{ X int }{1}}, Result: "zed"},
			`2 {"S":{"counter":5,"other":{"X":1}},"R":"zed","I":"0"}`},
		{"state alone", "2 0", classic.Answer{State: map[string]any{"a": nil}}, `2 {"S":{"a":null},"I":"0"}`},
		{"no state", "2 0", classic.Answer{State: map[string]any{}}, `2 {"I":"0"}`},
		{"state with an error", "2 0", classic.Answer{State: map[string]any{"a": 1}, Error: "e"}, `2 {"S":{"a":1},"I":"0","E":"e"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := classic.NewProtocol("Hub").AppendAnswer([]byte("before"), []byte(test.id), &test.answer)
			require.NoError(t, err)
			require.Equal(t, "beforeR"+test.want+separator, string(got))
			_, object, _ := strings.Cut(test.want, " ")
			require.True(t, json.Valid([]byte(object)))
		})
	}
}

func TestResultsAndErrorsAreAnswers(t *testing.T) {
	p := classic.NewProtocol("Hub")
	got, err := p.AppendResult(nil, []byte("3 a"), point{X: 1, Y: 2})
	require.NoError(t, err)
	require.Equal(t, `R3 {"R":{"X":1,"Y":2},"I":"a"}`+separator, string(got))
	require.Equal(t, `R3 {"I":"a","E":"no"}`+separator, string(p.AppendError(nil, []byte("3 a"), "no")))
}

func TestProgress(t *testing.T) {
	p := classic.NewProtocol("Hub")
	for _, test := range []struct {
		id   string
		item any
		want string
	}{
		{"5 0", 10, `M{"I":"P|0","P":{"I":"0","D":10}}`},
		{"5 a b", nil, `M{"I":"P|a b","P":{"I":"a b","D":null}}`},
		{"5 \"", point{X: 1}, `M{"I":"P|\"","P":{"I":"\"","D":{"X":1,"Y":0}}}`},
	} {
		got, err := p.AppendItem([]byte("before"), []byte(test.id), test.item)
		require.NoError(t, err)
		require.Equal(t, "before"+test.want+separator, string(got))
	}
}

func TestCallsOfClients(t *testing.T) {
	for _, test := range []struct {
		name, hub, target string
		args              []any
		state             map[string]any
		want              string
	}{
		{"a text", "DemoHub", "msg", []any{"hey"}, nil, `{"H":"DemoHub","M":"msg","A":["hey"]}`},
		{"nothing", "DemoHub", "msg", nil, nil, `{"H":"DemoHub","M":"msg","A":[]}`},
		{"several", "h", "m", []any{1, nil, []string{"x"}, map[string]int{"b": 2, "A": 1}}, nil, `{"H":"h","M":"m","A":[1,null,["x"],{"A":1,"b":2}]}`},
		{"an object", "h", "m", []any{point{X: 1}}, nil, `{"H":"h","M":"m","A":[{"X":1,"Y":0}]}`},
		{"no state", "h", "m", []any{}, map[string]any{}, `{"H":"h","M":"m","A":[]}`},
		{"state", "h", "m", []any{1}, map[string]any{"B": 2, "a": point{}}, `{"H":"h","M":"m","A":[1],"S":{"B":2,"a":{"X":0,"Y":0}}}`},
		{"odd names", "\"\x1e<", "\\\x1f\u2028é", nil, nil, `{"H":"\"\u001e<","M":"\\\u001f\u2028é","A":[]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := classic.NewProtocol(test.hub).AppendCallOfClient([]byte("before"), test.target, test.args, test.state)
			require.NoError(t, err)
			require.Equal(t, "beforeM"+test.want+separator, string(got))
			require.True(t, json.Valid([]byte(test.want)))
			if len(test.state) == 0 {
				again, err := classic.NewProtocol(test.hub).AppendInvocation([]byte("before"), nil, test.target, test.args)
				require.NoError(t, err)
				require.Equal(t, string(got), string(again))
			}
		})
	}
}

func TestClientsCannotBeAskedForResults(t *testing.T) {
	got, err := classic.NewProtocol("Hub").AppendInvocation([]byte("before"), []byte("1"), "m", nil)
	require.Error(t, err)
	require.Equal(t, "before", string(got))
}

// Nothing of the other messages of a connection reaches a client, but its end does.
func TestOnlyTheEndOfAConnectionIsNoCall(t *testing.T) {
	p := classic.NewProtocol("Hub")
	for _, test := range []struct {
		m    hubproto.Message
		want string
	}{
		{hubproto.Message{Type: hubproto.Close}, "C"},
		{hubproto.Message{Type: hubproto.Close, Error: []byte("no"), HasError: true}, "C"},
		{hubproto.Message{Type: hubproto.Close, AllowReconnect: true}, "Cr"},
		{hubproto.Message{Type: hubproto.Ping}, " "},
		{hubproto.Message{Type: hubproto.CancelInvocation, ID: []byte("1")}, " "},
	} {
		require.Equal(t, "before"+test.want+separator, string(p.Append([]byte("before"), &test.m)))
	}
}

// Values are written as Json.NET writes them, as far as encoding/json has the same.
func TestHowValuesAreWritten(t *testing.T) {
	type all struct {
		Name   string
		Next   *all
		Tags   []string
		Bytes  []byte
		Hidden string `json:"-"`
		Empty  string `json:",omitempty"`
		lower  string
		Text   string `json:"text"`
	}
	got, err := classic.NewProtocol("Hub").AppendResult(nil, []byte("1 0"), all{Name: "<&>\u2028", Bytes: []byte{1, 2, 3}, Hidden: "x", lower: "x"})
	require.NoError(t, err)
	require.Equal(t, `R1 {"R":{"Name":"<&>\u2028","Next":null,"Tags":null,"Bytes":"AQID","text":""},"I":"0"}`+separator, string(got))
}

func TestWhatCannotBeWrittenLeavesTheBuffer(t *testing.T) {
	p := classic.NewProtocol("Hub")
	for _, room := range []int{0, 1000} { // with and without reallocation of the buffer
		dst := append(make([]byte, 0, 6+room), "before"...)
		for _, bad := range []any{func() {}, []any{1, make(chan int)}, map[string]any{"a": 1i}} {
			state := map[string]any{"a": 1, "b": bad}
			for _, write := range []func() ([]byte, error){
				func() ([]byte, error) { return p.AppendInvocation(dst, nil, "m", []any{1, bad}) },
				func() ([]byte, error) { return p.AppendCallOfClient(dst, "m", []any{1}, state) },
				func() ([]byte, error) { return p.AppendResult(dst, []byte("1 0"), bad) },
				func() ([]byte, error) { return p.AppendItem(dst, []byte("1 0"), bad) },
				func() ([]byte, error) {
					return p.AppendAnswer(dst, []byte("1 0"), &classic.Answer{State: state, Result: 1})
				},
				func() ([]byte, error) {
					return p.AppendAnswer(dst, []byte("1 0"), &classic.Answer{Error: "e", ForHub: true, Data: bad})
				},
			} {
				got, err := write()
				require.Error(t, err)
				require.Equal(t, "before", string(got))
			}
		}
	}
}

func TestAnAnswerThatSaysThatItsCallHasFailed(t *testing.T) {
	var p classic.Protocol
	answer := func(a *classic.Answer) []byte {
		record, err := p.AppendAnswer(nil, []byte("1 0"), a)
		require.NoError(t, err)
		_, object, _ := bytes.Cut(bytes.TrimSuffix(record, []byte{classic.Separator}), []byte{' '})
		return object
	}
	require.True(t, classic.HasFailed(answer(&classic.Answer{Error: "no"})))
	require.False(t, classic.HasFailed(answer(&classic.Answer{})))
	require.False(t, classic.HasFailed(answer(&classic.Answer{Result: map[string]any{"A": 1, "E": "not an error"}})))
}
