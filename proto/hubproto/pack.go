package hubproto

import (
	"math"

	"github.com/tinylib/msgp/msgp"
)

// MessagePack is the protocol "messagepack" (docs/protocol.md, 5): binary, each message an array that its length precedes.
//
// Values have the same structure as in JSON, so that a hub need not know which protocol a client speaks, except that bytes are binary, times
// are timestamps, a [TimeSpan] is a number of ticks, and whole numbers stay whole in an interface. A field without a tag "msgpack" or "json" has
// its declared name, as in the reference, because classes in C# and Java have these names; in camel case it is read as well. Types with a
// JSON marshaler only are written with the structure of their JSON.
var MessagePack = MessagePackOptions{}.Protocol()

// MessagePackOptions are the options of the protocol "messagepack".
type MessagePackOptions struct {
	// CamelCase writes the names of fields as in JSON, for programs whose clients are all in JavaScript. Default: false, see [MessagePack].
	CamelCase bool
}

// Protocol is the protocol with these options.
func (o MessagePackOptions) Protocol() Protocol {
	if o.CamelCase {
		return packProtocol{camelPacker}
	}
	return packProtocol{declaredPacker}
}

type packProtocol struct{ values *packer }

func (packProtocol) Name() string { return "messagepack" }
func (packProtocol) Binary() bool { return true }

// maxPrefix is the maximum size of a length prefix: five groups of seven bits, of which the last has three.
const maxPrefix = 5

var errPrefix = dataErrorf("Messages over 2GB in size are not supported.")

// prefix reads the length in front of a message, or returns 0 for size if it has not arrived whole.
func prefix(b []byte) (length, size int, err error) {
	for i, c := range b {
		if i == maxPrefix-1 && c > 7 {
			return 0, 0, errPrefix
		}
		length |= int(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return length, i + 1, nil
		}
	}
	return 0, 0, nil
}

func (packProtocol) Next(buf []byte, _, limit int) (int, error) {
	length, size, err := prefix(buf)
	if err != nil || size == 0 {
		return 0, err
	}
	if limit > 0 && length > limit-size {
		return 0, &TooLargeError{Limit: limit}
	}
	if len(buf)-size < length {
		return 0, nil
	}
	return size + length, nil
}

// packReader reads the items of a message's array.
type packReader struct {
	b     []byte
	items int
	err   error
}

func (packProtocol) Parse(record []byte, m *Message) error {
	m.reset()
	_, size, err := prefix(record)
	if err != nil || size == 0 {
		return dataErrorf("The length of a message is missing.")
	}
	r := packReader{b: record[size:]}
	n, rest, err := msgp.ReadArrayHeaderBytes(r.b)
	if err != nil {
		return dataErrorf("Reading array length for 'elementCount' failed.")
	}
	r.b, r.items = rest, int(min(n, math.MaxInt32))
	m.Type = Type(r.int32("messageType"))
	switch m.Type {
	case Invocation, StreamInvocation:
		r.headers(m)
		r.id(m)
		m.Target = r.text("target", false, 0)
		m.Arguments = r.array("arguments")
		if r.items > 0 { // older clients omit the streams
			r.streamIDs(m)
		}
	case StreamItem:
		r.headers(m)
		r.id(m)
		m.Value = r.value("item")
	case Completion:
		r.headers(m)
		r.id(m)
		switch r.int32("resultKind") {
		case packedError:
			m.Error, m.HasError = r.text("error", false, 0), true
		case packedVoid:
		case packedResult:
			m.Value = r.value("argument")
		default:
			r.fail("Invalid invocation result kind.")
		}
	case CancelInvocation:
		r.headers(m)
		r.id(m)
	case Close:
		if r.items > 0 {
			m.Error = r.text("error", true, 0)
			m.HasError = m.Error != nil
		}
		if r.items > 0 {
			m.AllowReconnect = r.bool("allowReconnect")
		}
	case Ack, Sequence:
		m.SequenceID = r.int64("sequenceId")
	}
	return r.err
}

func (r *packReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = dataErrorf(format, args...)
	}
}

// take begins an item.
func (r *packReader) take(what, field string) bool {
	if r.err != nil {
		return false
	}
	if r.items == 0 {
		r.fail("Reading '%s' as %s failed.", field, what)
		return false
	}
	r.items--
	return true
}

// id reads the id of a message, which an Invocation alone may lack.
func (r *packReader) id(m *Message) {
	m.ID = r.text("invocationId", true, MaxIDLength)
	if len(m.ID) == 0 && m.Type != Invocation {
		r.fail("Null or empty invocation ID for %s message.", m.Type)
	}
}

func (r *packReader) int64(field string) int64 { return r.integer("Int64", field) }

func (r *packReader) int32(field string) int32 { return int32(r.integer("Int32", field)) }

// integer reads what fits into a type.
func (r *packReader) integer(what, field string) int64 {
	if !r.take(what, field) {
		return 0
	}
	n, rest, err := msgp.ReadInt64Bytes(r.b)
	if err != nil || what == "Int32" && n != int64(int32(n)) {
		r.fail("Reading '%s' as %s failed.", field, what)
		return 0
	}
	r.b = rest
	return n
}

func (r *packReader) bool(field string) bool {
	if !r.take("Boolean", field) {
		return false
	}
	v, rest, err := msgp.ReadBoolBytes(r.b)
	if err != nil {
		r.fail("Reading '%s' as Boolean failed.", field)
		return false
	}
	r.b = rest
	return v
}

// text reads a string, or nil where null is allowed.
func (r *packReader) text(field string, orNull bool, limit int) []byte {
	if !r.take("String", field) {
		return nil
	}
	if orNull && msgp.IsNil(r.b) {
		r.b = r.b[1:]
		return nil
	}
	text, rest, err := msgp.ReadStringZC(r.b)
	if err != nil {
		r.fail("Reading '%s' as String failed.", field)
		return nil
	}
	if limit > 0 && len(text) > limit {
		r.fail("'%s' has %d bytes, more than the limit of %d.", field, len(text), limit)
		return nil
	}
	r.b = rest
	return text
}

// value reads any value.
func (r *packReader) value(field string) []byte {
	if !r.take("Object", field) {
		return nil
	}
	rest, err := skipPacked(r.b, 1)
	if err != nil {
		r.fail("Deserializing object of the type for '%s' failed. %v", field, err)
		return nil
	}
	value := r.b[:len(r.b)-len(rest)]
	r.b = rest
	return value
}

func (r *packReader) array(field string) []byte {
	if r.err == nil && (r.items == 0 || msgp.NextType(r.b) != msgp.ArrayType) {
		r.fail("Reading array length for '%s' failed.", field)
	}
	return r.value(field)
}

func (r *packReader) headers(m *Message) {
	if r.err == nil && (r.items == 0 || msgp.NextType(r.b) != msgp.MapType) {
		r.fail("Reading map length for 'headers' failed.")
	}
	raw := r.value("headers")
	if r.err != nil {
		return
	}
	n, rest, _ := msgp.ReadMapHeaderBytes(raw)
	for i := range n {
		for _, part := range []string{"Key", "Value"} {
			var err error
			if _, rest, err = msgp.ReadStringZC(rest); err != nil {
				r.fail("Reading 'headers[%d].%s' as String failed.", i, part)
				return
			}
		}
	}
	if n > 0 {
		m.Headers = raw
	}
}

func (r *packReader) streamIDs(m *Message) {
	raw := r.array("streamIds")
	if r.err != nil {
		return
	}
	n, rest, _ := msgp.ReadArrayHeaderBytes(raw)
	if n > MaxStreamIDs {
		r.fail("'streamIds' has %d elements, more than the limit of %d.", n, MaxStreamIDs)
		return
	}
	for range n {
		var id []byte
		var err error
		if id, rest, err = msgp.ReadStringZC(rest); err != nil {
			r.fail("Reading 'streamIds' as String failed.")
			return
		}
		if len(id) > MaxIDLength {
			r.fail("'streamIds' has an id of %d bytes, more than the limit of %d.", len(id), MaxIDLength)
			return
		}
		m.StreamIDs = append(m.StreamIDs, id)
	}
}

// skipPacked skips one value of limited depth. depth counts the arrays and maps that it is nested in.
func skipPacked(b []byte, depth int) ([]byte, error) {
	n := uint32(0)
	var rest []byte
	var err error
	switch msgp.NextType(b) {
	case msgp.ArrayType:
		n, rest, err = msgp.ReadArrayHeaderBytes(b)
	case msgp.MapType:
		n, rest, err = msgp.ReadMapHeaderBytes(b)
		if n > math.MaxInt32 {
			return b, errTooDeep
		}
		n *= 2
	default:
		return msgp.Skip(b) // it holds nothing else
	}
	if err != nil {
		return b, err
	}
	if depth >= MaxDepth {
		return b, errTooDeep
	}
	if int64(n) > int64(len(rest)) {
		return b, msgp.ErrShortBytes
	}
	for range n {
		if rest, err = skipPacked(rest, depth+1); err != nil {
			return b, err
		}
	}
	return rest, nil
}

// framePacked inserts the length in front of the bytes from start on.
func framePacked(dst []byte, start int) []byte {
	n := len(dst) - start
	var p [maxPrefix]byte
	size := 0
	for v := n; ; v >>= 7 {
		if v < 0x80 {
			p[size] = byte(v)
			size++
			break
		}
		p[size] = byte(v) | 0x80
		size++
	}
	dst = append(dst, p[:size]...)
	copy(dst[start+size:], dst[start:start+n])
	copy(dst[start:], p[:size])
	return dst
}

// appendPackedInt writes a whole number as short as can be; msgp writes a positive number of a signed type in a signed format, which can be longer.
func appendPackedInt(dst []byte, n int64) []byte {
	if n >= 0 {
		return msgp.AppendUint64(dst, uint64(n))
	}
	return msgp.AppendInt64(dst, n)
}

func appendPackedID(dst, id []byte) []byte {
	if len(id) == 0 {
		return msgp.AppendNil(dst)
	}
	return msgp.AppendStringFromBytes(dst, id)
}

func appendPackedHead(dst []byte, t Type, items uint32, headers []byte) []byte {
	dst = msgp.AppendInt(msgp.AppendArrayHeader(dst, items), int(t))
	if headers == nil {
		return msgp.AppendMapHeader(dst, 0)
	}
	return append(dst, headers...)
}

func (p packProtocol) AppendInvocation(dst, id []byte, target string, args []any) ([]byte, error) {
	start := len(dst)
	dst = appendPackedID(appendPackedHead(dst, Invocation, 6, nil), id)
	dst = msgp.AppendArrayHeader(appendPackedText(dst, target), uint32(len(args)))
	for _, arg := range args {
		var err error
		if dst, err = p.values.append(dst, arg, 2); err != nil {
			return dst[:start], err
		}
	}
	return framePacked(msgp.AppendArrayHeader(dst, 0), start), nil
}

// Kinds of completions.
const (
	packedError  = 1
	packedVoid   = 2
	packedResult = 3
)

func (p packProtocol) AppendResult(dst, id []byte, result any) ([]byte, error) {
	start := len(dst)
	dst = appendPackedID(appendPackedHead(dst, Completion, 5, nil), id)
	return frameCarrier(p.values, msgp.AppendInt(dst, packedResult), start, result)
}

func (p packProtocol) AppendItem(dst, id []byte, item any) ([]byte, error) {
	return appendPackedItem(p.values, dst, id, item)
}

func appendPackedItem[T any](p *packer, dst, id []byte, item T) ([]byte, error) {
	start := len(dst)
	return frameCarrier(p, msgp.AppendStringFromBytes(appendPackedHead(dst, StreamItem, 4, nil), id), start, item)
}

// frameCarrier appends the value that a message ends with, and frames it.
func frameCarrier[T any](p *packer, dst []byte, start int, value T) ([]byte, error) {
	dst, ok := p.common(dst, value)
	if !ok {
		var err error
		if dst, err = p.reflected(dst, value, 1); err != nil {
			return dst[:start], err
		}
	}
	return framePacked(dst, start), nil
}

func (packProtocol) AppendError(dst, id []byte, text string) []byte {
	start := len(dst)
	dst = appendPackedID(appendPackedHead(dst, Completion, 5, nil), id)
	return framePacked(appendPackedText(msgp.AppendInt(dst, packedError), text), start)
}

func (packProtocol) Append(dst []byte, m *Message) []byte {
	start := len(dst)
	switch m.Type {
	case Invocation, StreamInvocation:
		dst = appendPackedID(appendPackedHead(dst, m.Type, 6, m.Headers), m.ID)
		dst = msgp.AppendStringFromBytes(dst, m.Target)
		dst = appendRaw(dst, m.Arguments, "\x90")
		dst = msgp.AppendArrayHeader(dst, uint32(len(m.StreamIDs)))
		for _, id := range m.StreamIDs {
			dst = msgp.AppendStringFromBytes(dst, id)
		}
	case StreamItem:
		dst = msgp.AppendStringFromBytes(appendPackedHead(dst, m.Type, 4, m.Headers), m.ID)
		dst = appendRaw(dst, m.Value, "\xc0")
	case Completion:
		items := uint32(5)
		if !m.HasError && m.Value == nil {
			items = 4
		}
		dst = msgp.AppendStringFromBytes(appendPackedHead(dst, m.Type, items, m.Headers), m.ID)
		switch {
		case m.HasError:
			dst = appendPackedText(msgp.AppendInt(dst, packedError), string(m.Error))
		case m.Value == nil:
			dst = msgp.AppendInt(dst, packedVoid)
		default:
			dst = append(msgp.AppendInt(dst, packedResult), m.Value...)
		}
	case CancelInvocation:
		dst = msgp.AppendStringFromBytes(appendPackedHead(dst, m.Type, 3, m.Headers), m.ID)
	case Close:
		dst = msgp.AppendInt(msgp.AppendArrayHeader(dst, 3), int(Close))
		if m.HasError {
			dst = appendPackedText(dst, string(m.Error))
		} else {
			dst = msgp.AppendNil(dst)
		}
		dst = msgp.AppendBool(dst, m.AllowReconnect)
	case Ack, Sequence:
		dst = msgp.AppendInt(msgp.AppendArrayHeader(dst, 2), int(m.Type))
		dst = appendPackedInt(dst, m.SequenceID)
	default: // Ping
		dst = msgp.AppendInt(msgp.AppendArrayHeader(dst, 1), int(m.Type))
	}
	return framePacked(dst, start)
}
