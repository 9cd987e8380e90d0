package hubproto

import "reflect"

// MaxVersion is the newest supported version of the hub protocols. Older ones are subsets of it.
const MaxVersion = 2

// Limits of what one message may hold, whatever its size is allowed to be. The reference server bounds them by the size of the message alone.
const (
	MaxDepth     = 64   // nested arrays, objects and structs, the message itself included
	MaxIDLength  = 4096 // bytes of an invocation id or a stream id
	MaxStreamIDs = 256  // upload streams of one invocation
)

// Protocol is an encoding of the hub messages. Implementations hold no state of a connection and can be used concurrently.
//
// The Append methods append one whole record to dst. If they fail, they return dst unchanged.
type Protocol interface {
	// Name is what a client asks for in its handshake, "json" for example.
	Name() string
	// Binary says that records are not text, and need a transport that carries bytes.
	Binary() bool

	// Next returns the size of the first record in buf, including its framing, or 0 if it has not arrived whole. It had not when buf had only
	// its first searched bytes, so these need not be searched again. If limit is above 0, a record that exceeds it is a [TooLargeError].
	Next(buf []byte, searched, limit int) (int, error)
	// Parse reads the envelope of a record (as cut by Next) into m, whose slices will alias the record. Its errors are a [DataError].
	Parse(record []byte, m *Message) error
	// CountArguments returns the number of the arguments of an invocation.
	CountArguments(arguments []byte) int
	// BindArguments decodes the arguments of an invocation into params, which are settable. Its errors are a [BindError].
	BindArguments(arguments []byte, params []reflect.Value) error
	// BindValue decodes the item of a StreamItem or the result of a Completion into v, which is settable. Its errors are a [BindError].
	BindValue(value []byte, v reflect.Value) error

	// AppendInvocation appends a call of target. It has an id if the client is to answer.
	AppendInvocation(dst, id []byte, target string, args []any) ([]byte, error)
	// AppendResult appends the Completion of an invocation that has returned result.
	AppendResult(dst, id []byte, result any) ([]byte, error)
	// AppendError appends the Completion of an invocation that has failed.
	AppendError(dst, id []byte, text string) []byte
	// AppendItem appends an item of the stream that an invocation has opened.
	AppendItem(dst, id []byte, item any) ([]byte, error)
	// Append appends m, whose values are encoded already.
	Append(dst []byte, m *Message) []byte
}

// AppendItem is p.AppendItem, except that an item of a common type (string, bool, int, int32, int64 or float64) is not moved to the heap if the
// protocol is one of this package.
func AppendItem[T any](p Protocol, dst, id []byte, item T) ([]byte, error) {
	switch p := p.(type) {
	case jsonProtocol:
		return appendItem(p.values, dst, id, item)
	case packProtocol:
		return appendPackedItem(p.values, dst, id, item)
	}
	return p.AppendItem(dst, id, item)
}
