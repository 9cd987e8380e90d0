package hubproto

import (
	"bytes"
	"fmt"
	"math"
)

// JSON is the protocol "json" (docs/protocol.md, 4): text, each message an object that the byte 0x1E ends.
//
// Values are written as encoding/json writes them, with one difference: a struct field that no tag names is written in camel case,
// as the reference does. They are read as encoding/json reads them, but more strictly: null is only decoded into pointers, slices, maps,
// interfaces and strings, and half a surrogate pair is refused.
var JSON = JSONOptions{}.Protocol()

// JSONOptions are the options of the protocol "json".
type JSONOptions struct {
	// DeclaredNames writes struct fields that no tag names as they are declared, as encoding/json does. Default: false, see [JSON].
	DeclaredNames bool
	// Integers decodes numbers without a fraction that are for an interface as an int64, if they fit, so that they are written again without one.
	// Default: false, they are a float64, as in encoding/json.
	Integers bool
}

// Protocol is the protocol with these options.
func (o JSONOptions) Protocol() Protocol {
	if o.DeclaredNames {
		return jsonProtocol{declaredWriter, o.Integers}
	}
	return jsonProtocol{camelWriter, o.Integers}
}

type jsonProtocol struct {
	values   *writer
	integers bool
}

func (jsonProtocol) Name() string { return "json" }
func (jsonProtocol) Binary() bool { return false }

func (jsonProtocol) Next(buf []byte, searched, limit int) (int, error) {
	return nextSeparated(buf, searched, limit)
}

func (jsonProtocol) Parse(record []byte, m *Message) error {
	m.reset()
	record = bytes.TrimSuffix(record, []byte{separator})
	s, err := scanObject(record)
	if err != nil {
		return err
	}
	var seen properties
	for s.next() {
		if err := seen.read(&s, m); err != nil {
			return err
		}
	}
	if s.err != nil {
		return s.err
	}
	return seen.check(m)
}

// properties are those that have been read of a message.
type properties struct {
	typ, target, sequence bool
	item, result          []byte
	boundTo               []byte // the target when the arguments came
}

// read stores the present property of s in m. Every known property is checked, whatever the message's type (docs/protocol.md, 4.3).
func (p *properties) read(s *objectScanner, m *Message) error {
	switch name := s.name(); string(name) {
	case "type":
		n, err := s.integer("type", math.MinInt32, math.MaxInt32)
		if err != nil {
			return err
		}
		m.Type, p.typ = Type(n), true
	case "invocationId":
		return readText(s, "invocationId", MaxIDLength, &m.ID)
	case "target":
		if err := readText(s, "target", 0, &m.Target); err != nil {
			return err
		}
		p.target = true
	case "arguments":
		if s.value[0] != '[' {
			return dataErrorf("Expected 'arguments' to be of type Array.")
		}
		m.Arguments = s.value
		p.boundTo = m.Target
	case "streamIds":
		return readStreamIDs(s, m)
	case "headers":
		return readHeaders(s, m)
	case "item":
		p.item = s.value
	case "result":
		p.result = s.value
	case "error":
		m.HasError = true
		return readText(s, "error", 0, &m.Error)
	case "allowReconnect":
		if c := s.value[0]; c != 't' && c != 'f' {
			return dataErrorf("Expected 'allowReconnect' to be true or false.")
		}
		m.AllowReconnect = s.value[0] == 't'
	case "sequenceId":
		if p.sequence = !s.isNull(); p.sequence {
			n, err := s.integer("sequenceId", math.MinInt64, math.MaxInt64)
			m.SequenceID = n
			return err
		}
	}
	return nil
}

func readText(s *objectScanner, name string, limit int, into *[]byte) error {
	text, ok := s.text()
	if !ok {
		return dataErrorf("Expected '%s' to be of type String.", name)
	}
	if limit > 0 && len(text) > limit {
		return dataErrorf("'%s' has %d bytes, more than the limit of %d.", name, len(text), limit)
	}
	*into = text
	return s.err
}

func readStreamIDs(s *objectScanner, m *Message) error {
	if s.value[0] != '[' {
		return dataErrorf("Expected 'streamIds' to be of type Array.")
	}
	n := splitElements(s.value, nil)
	if n > MaxStreamIDs {
		return dataErrorf("'streamIds' has %d elements, more than the limit of %d.", n, MaxStreamIDs)
	}
	m.StreamIDs = append(m.StreamIDs[:0], make([][]byte, n)...)
	splitElements(s.value, m.StreamIDs)
	for i, raw := range m.StreamIDs {
		if raw[0] != '"' {
			return dataErrorf("Null value for 'streamIds' is not valid.")
		}
		id, ok := unescape(raw[1 : len(raw)-1])
		if !ok {
			return errJSON
		}
		if len(id) > MaxIDLength {
			return dataErrorf("'streamIds' has an id of %d bytes, more than the limit of %d.", len(id), MaxIDLength)
		}
		m.StreamIDs[i] = id
	}
	return nil
}

func readHeaders(s *objectScanner, m *Message) error {
	if s.value[0] != '{' {
		return dataErrorf("Expected 'headers' to be of type StartObject.")
	}
	h := objectScanner{b: s.value, i: 1, first: true}
	for h.next() {
		if _, ok := h.text(); !ok {
			return dataErrorf("Expected header '%s' to be of type String.", h.name())
		}
		h.name() // notes an error if it is no text
	}
	m.Headers = s.value
	return h.err
}

// check checks that a message has the properties that its type requires (docs/protocol.md, 4.3).
func (p *properties) check(m *Message) error {
	missing := func(name string) error { return dataErrorf("Missing required property '%s'.", name) }
	m.Retargeted = len(p.boundTo) > 0 && !bytes.Equal(p.boundTo, m.Target)
	if !p.typ {
		return missing("type")
	}
	switch m.Type {
	case StreamInvocation, StreamItem, Completion, CancelInvocation:
		if len(m.ID) == 0 { // empty counts as missing (docs/protocol.md, 4.3)
			return missing("invocationId")
		}
	}
	switch m.Type {
	case Invocation, StreamInvocation:
		if !p.target {
			return missing("target")
		}
		if m.Arguments == nil {
			return missing("arguments")
		}
	case StreamItem:
		if p.item == nil {
			return missing("item")
		}
		m.Value = p.item
	case Completion:
		if p.result != nil && m.HasError {
			return dataErrorf("The 'error' and 'result' properties are mutually exclusive.")
		}
		m.Value = p.result
	case Ack, Sequence:
		if !p.sequence {
			return missing("sequenceId")
		}
	}
	return nil
}

func (p jsonProtocol) AppendInvocation(dst, id []byte, target string, args []any) ([]byte, error) {
	start := len(dst)
	dst = appendCallHead(dst, Invocation, nil, id, target)
	dst = append(dst, '[')
	for i, arg := range args {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = p.values.append(dst, arg, 2); err != nil {
			return dst[:start], err
		}
	}
	return append(dst, ']', '}', separator), nil
}

func (p jsonProtocol) AppendResult(dst, id []byte, result any) ([]byte, error) {
	return appendCarrier(p.values, dst, `{"type":3`, id, `,"result":`, result)
}

func (p jsonProtocol) AppendItem(dst, id []byte, item any) ([]byte, error) {
	return appendItem(p.values, dst, id, item)
}

func appendItem[T any](w *writer, dst, id []byte, item T) ([]byte, error) {
	return appendCarrier(w, dst, `{"type":2`, id, `,"item":`, item)
}

// appendCarrier appends a message that carries one value.
func appendCarrier[T any](w *writer, dst []byte, head string, id []byte, name string, value T) ([]byte, error) {
	start := len(dst)
	dst = append(appendID(append(dst, head...), id), name...)
	dst, ok, err := w.common(dst, value)
	if !ok {
		dst, err = w.reflected(dst, value, 1)
	}
	if err != nil {
		return dst[:start], err
	}
	return append(dst, '}', separator), nil
}

func (jsonProtocol) AppendError(dst, id []byte, text string) []byte {
	dst = appendID(append(dst, `{"type":3`...), id)
	dst = append(dst, `,"error":`...)
	dst = appendString(dst, text)
	return append(dst, '}', separator)
}

func (jsonProtocol) Append(dst []byte, m *Message) []byte {
	switch m.Type {
	case Invocation, StreamInvocation:
		dst = appendCallHead(dst, m.Type, m.Headers, m.ID, m.Target)
		dst = appendRaw(dst, m.Arguments, "[]")
		if len(m.StreamIDs) > 0 {
			dst = append(dst, `,"streamIds":[`...)
			for i, id := range m.StreamIDs {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = appendString(dst, id)
			}
			dst = append(dst, ']')
		}
	case StreamItem:
		dst = appendID(appendHead(dst, m.Type, m.Headers), m.ID)
		dst = appendRaw(append(dst, `,"item":`...), m.Value, "null")
	case Completion:
		dst = appendID(appendHead(dst, m.Type, m.Headers), m.ID)
		if m.HasError {
			dst = appendString(append(dst, `,"error":`...), m.Error)
		} else if m.Value != nil {
			dst = append(append(dst, `,"result":`...), m.Value...)
		}
	case Close:
		dst = appendHead(dst, m.Type, nil)
		if m.HasError {
			dst = appendString(append(dst, `,"error":`...), m.Error)
		}
		if m.AllowReconnect {
			dst = append(dst, `,"allowReconnect":true`...)
		}
	case Ack, Sequence:
		dst = appendHead(dst, m.Type, nil)
		dst = appendInt(append(dst, `,"sequenceId":`...), m.SequenceID)
	default: // CancelInvocation, Ping
		dst = appendID(appendHead(dst, m.Type, m.Headers), m.ID)
	}
	return append(dst, '}', separator)
}

// appendRaw appends a value that is encoded already.
func appendRaw(dst, raw []byte, absent string) []byte {
	if raw == nil {
		return append(dst, absent...)
	}
	return append(dst, raw...)
}

func appendHead(dst []byte, t Type, headers []byte) []byte {
	dst = appendInt(append(dst, `{"type":`...), int64(t))
	if headers != nil {
		dst = append(append(dst, `,"headers":`...), headers...)
	}
	return dst
}

func appendID(dst, id []byte) []byte {
	if len(id) == 0 {
		return dst
	}
	return appendString(append(dst, `,"invocationId":`...), id)
}

func appendCallHead[T string | []byte](dst []byte, t Type, headers, id []byte, target T) []byte {
	dst = appendID(appendHead(dst, t, headers), id)
	dst = appendString(append(dst, `,"target":`...), target)
	return append(dst, `,"arguments":`...)
}

// AppendJSONNet appends a value that stands in a message as Json.NET writes it by default: with declared names, a fraction in each float, and
// texts for floats that are not finite. SignalR 2 has values in this form.
func AppendJSONNet(dst []byte, v any) ([]byte, error) { return jsonNetWriter.append(dst, v, 2) }

// AppendString appends a text as JSON.
func AppendString(dst []byte, text string) []byte { return appendString(dst, text) }

// Unquote returns the text of a JSON string, and false if raw is none.
func Unquote(raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '"' || skipString(raw, 0) != len(raw) {
		return nil, false
	}
	return unescape(raw[1 : len(raw)-1])
}

// EachMember calls do with the members of a JSON object: with the name without escapes, and with the value as it is written, which is a part of
// text. It returns the error of do, or one if text is not a single object in UTF-8 that nests no deeper than MaxDepth.
func EachMember(text []byte, do func(name, value []byte) error) error {
	s, err := scanObject(text)
	if err != nil {
		return errMembers
	}
	for s.next() {
		name := s.name()
		if s.err != nil {
			break
		}
		if err := do(name, s.value); err != nil {
			return err
		}
	}
	if s.err != nil || skipSpace(text, s.i+1) < len(text) {
		return errMembers
	}
	return nil
}

var errMembers = fmt.Errorf("it is not a JSON object in UTF-8, or nests deeper than the limit of %d", MaxDepth)

// Elements returns the elements of a JSON array that has been checked.
func Elements(array []byte) [][]byte {
	elements := make([][]byte, splitElements(array, nil))
	splitElements(array, elements)
	return elements
}
