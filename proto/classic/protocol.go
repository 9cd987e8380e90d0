package classic

import (
	"bytes"
	"errors"
	"reflect"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// Records of a [Protocol] begin with their kind and end with a separator, which JSON cannot contain.
const (
	Separator = 0x1e
	field     = 0x1f // between the fields of a call

	// MessageRecord is something for the M of an envelope: a call of a client method, or the progress of a call.
	MessageRecord = 'M'
	// AnswerRecord is the answer to a call: the number of the call, a blank, and the object for the client.
	AnswerRecord = 'R'
	// CloseRecord says that the server closes the connection; an 'r' behind it says that the client may connect again.
	CloseRecord = 'C'
)

var errNoResults = errors.New("a client of SignalR 2 cannot be asked for a result")

// Protocol is what the connections of one hub speak with the sessions that they are part of. It is a hubproto.Protocol, so that a message to
// clients of both dialects is encoded once for each. Values are written with the names that they are declared with, as Json.NET does, and read
// as leniently as the hubs of SignalR 2 read them.
type Protocol struct {
	hub    []byte // the name as JSON
	values hubproto.Protocol
}

var _ hubproto.Protocol = (*Protocol)(nil)

// NewProtocol returns the protocol of a hub.
func NewProtocol(hub string) *Protocol {
	return &Protocol{hub: hubproto.AppendString(nil, hub), values: hubproto.JSONOptions{DeclaredNames: true, Integers: true}.Protocol()}
}

// Name is part of hubproto.Protocol, as are the methods that follow.
func (p *Protocol) Name() string { return "signalr2" }

// Binary reports that records are text.
func (p *Protocol) Binary() bool { return false }

// Next cuts a record.
func (p *Protocol) Next(buf []byte, searched, limit int) (int, error) {
	return hubproto.JSON.Next(buf, searched, limit)
}

// AppendCall appends the record of a call. answer is the number under which its answer will come; spelled is the name of the hub as the client
// has written it.
func AppendCall(dst []byte, answer []byte, spelled string, in *Invocation) []byte {
	dst = append(dst, answer...)
	if in.ID != nil {
		dst = append(append(dst, ' '), *in.ID...)
	}
	dst = hubproto.AppendString(append(dst, field), in.Method)
	dst = hubproto.AppendString(append(dst, field), spelled)
	dst = append(append(dst, field), in.State...)
	dst = append(append(dst, field), in.Arguments...)
	return append(dst, Separator)
}

// Parse reads the record of a call. The names as the client has written them and the state are its headers, see [Headers].
func (p *Protocol) Parse(record []byte, m *hubproto.Message) error {
	*m = hubproto.Message{StreamIDs: m.StreamIDs[:0]}
	var parts [5][]byte
	if !split(bytes.TrimSuffix(record, []byte{Separator}), parts[:]) {
		return &hubproto.DataError{Text: "a record of a SignalR 2 session is malformed"}
	}
	target, ok := hubproto.Unquote(parts[1])
	if !ok {
		return &hubproto.DataError{Text: "a method name of a SignalR 2 session is malformed"}
	}
	m.Type, m.ID, m.Target, m.Arguments = hubproto.Invocation, parts[0], target, parts[4]
	m.Headers = record[len(parts[0])+1:][:len(parts[1])+len(parts[2])+len(parts[3])+2]
	return nil
}

// Headers takes the headers of a call apart: the names as the client has written them, and the state.
func Headers(headers []byte) (hub, method string, state []byte) {
	var parts [3][]byte
	if !split(headers, parts[:]) {
		return "", "", nil
	}
	name, _ := hubproto.Unquote(parts[1])
	target, _ := hubproto.Unquote(parts[0])
	return string(name), string(target), parts[2]
}

// split cuts a record into its fields. It returns false if there are too few of them.
func split(record []byte, fields [][]byte) bool {
	last := len(fields) - 1
	for i := range last {
		var ok bool
		if fields[i], record, ok = bytes.Cut(record, []byte{field}); !ok {
			return false
		}
	}
	fields[last] = record
	return true
}

// CountArguments returns the number of the arguments of a call.
func (p *Protocol) CountArguments(arguments []byte) int { return p.values.CountArguments(arguments) }

// BindArguments decodes arguments.
func (p *Protocol) BindArguments(arguments []byte, params []reflect.Value) error {
	err := p.values.BindArguments(arguments, params)
	if err != nil && p.values.CountArguments(arguments) == len(params) {
		err = p.values.BindArguments(lenient(arguments, params), params)
	}
	return err
}

// BindValue decodes a value.
func (p *Protocol) BindValue(value []byte, v reflect.Value) error {
	return p.values.BindValue(value, v)
}

// AppendInvocation appends a call of a client method.
func (p *Protocol) AppendInvocation(dst, id []byte, target string, args []any) ([]byte, error) {
	if len(id) > 0 {
		return dst, errNoResults
	}
	return p.AppendCallOfClient(dst, target, args, nil)
}

// AppendCallOfClient appends a call of a client method that brings changes of the client's state.
func (p *Protocol) AppendCallOfClient(dst []byte, target string, args []any, state map[string]any) (_ []byte, err error) {
	start := len(dst)
	dst = append(append(append(dst, MessageRecord), `{"H":`...), p.hub...)
	dst = hubproto.AppendString(append(dst, `,"M":`...), target)
	dst = append(dst, `,"A":[`...)
	for i, arg := range args {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = hubproto.AppendJSONNet(dst, arg); err != nil {
			return dst[:start], err
		}
	}
	dst = append(dst, ']')
	if len(state) > 0 {
		if dst, err = hubproto.AppendJSONNet(append(dst, `,"S":`...), state); err != nil {
			return dst[:start], err
		}
	}
	return append(dst, '}', Separator), nil
}

// AppendResult appends the answer to a call that has returned.
func (p *Protocol) AppendResult(dst, id []byte, result any) ([]byte, error) {
	return p.AppendAnswer(dst, id, &Answer{Result: result})
}

// AppendError appends the answer to a call that has failed.
func (p *Protocol) AppendError(dst, id []byte, text string) []byte {
	dst, _ = p.AppendAnswer(dst, id, &Answer{Error: text})
	return dst
}

// Answer is the outcome of a call.
type Answer struct {
	State  map[string]any // that has changed
	Result any
	Error  string // empty: it has succeeded
	ForHub bool   // the error is one that the hub means for its client
	Data   any    // of such an error
}

// AppendAnswer appends the answer to a call. What is absent is left out, because clients look for what is there.
func (p *Protocol) AppendAnswer(dst, id []byte, a *Answer) (_ []byte, err error) {
	start := len(dst)
	number, own, hasID := bytes.Cut(id, []byte{' '})
	dst = append(append(append(dst, AnswerRecord), number...), ' ', '{')
	if len(a.State) > 0 {
		if dst, err = appendState(dst, a.State); err != nil {
			return dst[:start], err
		}
		dst = append(dst, ',')
	}
	if a.Result != nil {
		before := len(dst)
		if dst, err = hubproto.AppendJSONNet(append(dst, `"R":`...), a.Result); err != nil {
			return dst[:start], err
		}
		if string(dst[before:]) == `"R":null` {
			dst = dst[:before]
		} else {
			dst = append(dst, ',')
		}
	}
	if hasID {
		dst = hubproto.AppendString(append(dst, `"I":`...), string(own))
	} else {
		dst = append(dst, `"I":null`...)
	}
	if a.Error != "" {
		if a.ForHub {
			dst = append(dst, `,"H":true`...)
		}
		dst = hubproto.AppendString(append(dst, `,"E":`...), a.Error)
		if a.Data != nil {
			if dst, err = hubproto.AppendJSONNet(append(dst, `,"D":`...), a.Data); err != nil {
				return dst[:start], err
			}
		}
	}
	return append(dst, '}', Separator), nil
}

// appendState appends the member with the state of a client.
func appendState(dst []byte, state map[string]any) ([]byte, error) {
	return hubproto.AppendJSONNet(append(dst, `"S":`...), state)
}

// AppendFailure appends the object that says to a client that a call has failed.
func AppendFailure(dst []byte, in *Invocation, text string) []byte {
	dst = append(dst, `{"I":`...)
	if in.ID != nil {
		dst = hubproto.AppendString(dst, *in.ID)
	} else {
		dst = append(dst, "null"...)
	}
	return append(hubproto.AppendString(append(dst, `,"E":`...), text), '}')
}

// AppendItem appends the progress of a call.
func (p *Protocol) AppendItem(dst, id []byte, item any) ([]byte, error) {
	return p.AppendProgress(dst, id, item, nil)
}

// AppendProgress appends the progress of a call, with what it has changed of the state of its client.
func (p *Protocol) AppendProgress(dst, id []byte, item any, state map[string]any) (_ []byte, err error) {
	start := len(dst)
	_, own, _ := bytes.Cut(id, []byte{' '})
	dst = hubproto.AppendString(append(append(dst, MessageRecord), `{"I":`...), "P|"+string(own))
	dst = hubproto.AppendString(append(dst, `,"P":{"I":`...), string(own))
	if dst, err = hubproto.AppendJSONNet(append(dst, `,"D":`...), item); err != nil {
		return dst[:start], err
	}
	dst = append(dst, '}')
	if len(state) > 0 {
		if dst, err = appendState(append(dst, ','), state); err != nil {
			return dst[:start], err
		}
	}
	return append(dst, '}', Separator), nil
}

// Append appends what is no call: nothing but the end of a connection matters to a session.
func (p *Protocol) Append(dst []byte, m *hubproto.Message) []byte {
	if m.Type != hubproto.Close {
		return append(dst, ' ', Separator)
	}
	dst = append(dst, CloseRecord)
	if m.AllowReconnect {
		dst = append(dst, 'r')
	}
	return append(dst, Separator)
}
