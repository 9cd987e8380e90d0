package hubproto_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"runtime"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// view is a message in a form that is easy to compare and print. Missing parts are empty.
type view struct {
	Type           hubproto.Type
	ID             string
	Target         string
	Retargeted     bool
	Arguments      string
	StreamIDs      []string
	Value          string
	Error          string
	HasError       bool
	AllowReconnect bool
	SequenceID     int64
	Headers        string
}

func viewOf(m *hubproto.Message) view {
	v := view{
		Type: m.Type, ID: string(m.ID), Target: string(m.Target), Retargeted: m.Retargeted, Arguments: string(m.Arguments),
		Value: string(m.Value),
		Error: string(m.Error), HasError: m.HasError, AllowReconnect: m.AllowReconnect, SequenceID: m.SequenceID, Headers: string(m.Headers),
	}
	for _, id := range m.StreamIDs {
		v.StreamIDs = append(v.StreamIDs, string(id))
	}
	return v
}

// meaningful returns v with only those parts that have a meaning in messages of its type, which are those that Append encodes.
func meaningful(v view) view {
	out := view{Type: v.Type}
	if v.Type <= hubproto.CancelInvocation {
		out.ID, out.Headers = v.ID, v.Headers
	}
	switch v.Type {
	case hubproto.Invocation, hubproto.StreamInvocation:
		out.Target, out.Arguments, out.StreamIDs = v.Target, v.Arguments, v.StreamIDs
	case hubproto.StreamItem:
		out.Value = v.Value
	case hubproto.Completion:
		out.Value, out.Error, out.HasError = v.Value, v.Error, v.HasError
	case hubproto.Close:
		out.Error, out.HasError, out.AllowReconnect = v.Error, v.HasError, v.AllowReconnect
	case hubproto.Ack, hubproto.Sequence:
		out.SequenceID = v.SequenceID
	}
	return out
}

func parse(t require.TestingT, record string) view {
	var m hubproto.Message
	require.NoError(t, hubproto.JSON.Parse([]byte(record), &m))
	return viewOf(&m)
}

// requireDataError checks that err is a DataError with exactly this text.
func requireDataError(t require.TestingT, err error, text string) {
	var data *hubproto.DataError
	require.ErrorAs(t, err, &data)
	require.Equal(t, text, data.Text)
	require.EqualError(t, err, text)
}

func ids(names ...string) [][]byte {
	var out [][]byte
	for _, name := range names {
		out = append(out, []byte(name))
	}
	return out
}

const errorReading = "Error reading JSON."

const errorBinding = "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked."

// bind binds one JSON argument to a parameter of type typ.
func bind(argument string, typ reflect.Type) (any, error) {
	v := reflect.New(typ).Elem()
	err := hubproto.JSON.BindArguments([]byte("["+argument+"]"), []reflect.Value{v})
	return v.Interface(), err
}

func requireBindError(t require.TestingT, err error, text string) *hubproto.BindError {
	var bind *hubproto.BindError
	require.ErrorAs(t, err, &bind)
	require.Equal(t, text, bind.Text)
	require.EqualError(t, err, text)
	return bind
}

const (
	resultHead = `{"type":3,"invocationId":"1","result":`
	resultTail = "}\x1e"
)

// encode returns v as it is encoded in a message.
func encode(v any) (string, error) {
	record, err := hubproto.JSON.AppendResult(nil, []byte("1"), v)
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(string(record), resultHead)
	if !ok || !strings.HasSuffix(text, resultTail) {
		return "", errors.New("not a result: " + string(record))
	}
	return strings.TrimSuffix(text, resultTail), nil
}

func encoded(t require.TestingT, v any) string {
	text, err := encode(v)
	require.NoError(t, err)
	return text
}

// jsonOf parses text for comparisons. Numbers keep all their digits, but not their format. JSON within a string, as the option
// "string" produces it, is parsed as well.
func jsonOf(t require.TestingT, text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	require.NoError(t, decoder.Decode(&v), text)
	var plain func(v any) any
	plain = func(v any) any {
		switch v := v.(type) {
		case json.Number:
			if strings.ContainsAny(v.String(), ".eE") {
				f, err := v.Float64()
				require.NoError(t, err)
				return f
			}
		case string:
			if json.Valid([]byte(v)) && strings.ContainsAny(v[:1], `"-0123456789`) {
				return []any{"quoted", jsonOf(t, v)}
			}
		case []any:
			for i := range v {
				v[i] = plain(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = plain(v[k])
			}
		}
		return v
	}
	return plain(v)
}

// requireLikeEncodingJSON checks that v is encoded as encoding/json encodes it. That holds if every field has a name in a tag.
func requireLikeEncodingJSON(t require.TestingT, v any) {
	want, wantErr := json.Marshal(v)
	got, err := encode(v)
	if wantErr != nil {
		require.Error(t, err, "%#v", v)
		return
	}
	require.NoError(t, err, "%#v", v)
	require.Equal(t, jsonOf(t, string(want)), jsonOf(t, got))
	require.Equal(t, keysOf(t, string(want)), keysOf(t, got)) // and in the same order
}

// keysOf returns the names of all properties in text, in their order.
func keysOf(t require.TestingT, text string) []string {
	var keys []string
	decoder := json.NewDecoder(strings.NewReader(text))
	var value func()
	value = func() {
		token, err := decoder.Token()
		require.NoError(t, err)
		delim, ok := token.(json.Delim)
		if !ok {
			return
		}
		for decoder.More() {
			if delim == '{' {
				key, err := decoder.Token()
				require.NoError(t, err)
				keys = append(keys, key.(string))
			}
			value()
		}
		_, err = decoder.Token()
		require.NoError(t, err)
	}
	value()
	return keys
}

func pointerTo(v any) any {
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	return p.Interface()
}

func pointer[T any](v T) *T { return &v }

// nextFunc is the common signature of Protocol.Next and NextHandshake.
type nextFunc func(buf []byte, searched, limit int) (int, error)

// splitAll splits a stream that arrives in chunks into records, as a connection does.
func splitAll(next nextFunc, limit int, chunks ...[]byte) (records []string, rest string, err error) {
	var buf []byte
	searched := 0
	for _, chunk := range chunks {
		buf = append(buf, chunk...)
		for {
			n, err := next(buf, searched, limit)
			if err != nil {
				return records, string(buf), err
			}
			if n == 0 {
				searched = len(buf)
				break
			}
			records = append(records, string(buf[:n]))
			buf, searched = buf[n:], 0
		}
	}
	return records, string(buf), nil
}

var nextFuncs = map[string]nextFunc{"JSON": hubproto.JSON.Next, "handshake": hubproto.NextHandshake}

// frame returns the message with its length prefix.
func frame(message string) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(message))), message...)
}

func parsePacked(t require.TestingT, message string) view {
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(frame(message), &m))
	return viewOf(&m)
}

// requirePackedError checks that message is refused, and returns the text of the error.
func requirePackedError(t require.TestingT, message string) string {
	var m hubproto.Message
	var data *hubproto.DataError
	require.ErrorAs(t, hubproto.MessagePack.Parse(frame(message), &m), &data, "%x", message)
	require.NotEmpty(t, data.Text)
	return data.Text
}

// messageOf is the inverse of viewOf.
func messageOf(v view) *hubproto.Message {
	part := func(text string) []byte {
		if text == "" {
			return nil
		}
		return []byte(text)
	}
	return &hubproto.Message{
		Type: v.Type, ID: part(v.ID), Target: part(v.Target), Arguments: part(v.Arguments), StreamIDs: ids(v.StreamIDs...), Value: part(v.Value),
		Error: part(v.Error), HasError: v.HasError, AllowReconnect: v.AllowReconnect, SequenceID: v.SequenceID, Headers: part(v.Headers),
	}
}

// bindPacked binds one MessagePack argument to a parameter of type typ.
func bindPacked(argument string, typ reflect.Type) (any, error) {
	v := reflect.New(typ).Elem()
	err := hubproto.MessagePack.BindArguments([]byte("\x91"+argument), []reflect.Value{v})
	return v.Interface(), err
}

// allocatedBy returns the number of bytes that f allocates.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// camelCasePack is the MessagePack protocol with the field names of JSON.
var camelCasePack = hubproto.MessagePackOptions{CamelCase: true}.Protocol()

func causeOf(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

// numbersAsFloats parses text for comparisons of numbers by value.
func numbersAsFloats(t require.TestingT, text string) any {
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

var surrogate = regexp.MustCompile(`\\u[dD][89abAB-fA-F]`)

func nestingDepth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			deepest = max(deepest, nestingDepth(element))
		}
	case map[string]any:
		for _, element := range v {
			deepest = max(deepest, nestingDepth(element))
		}
	default:
		return 0
	}
	return deepest + 1
}
