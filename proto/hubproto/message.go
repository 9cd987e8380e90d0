package hubproto

import "fmt"

// Type is the number that names a hub message on the wire.
type Type int

// The hub messages of protocol version 2.
const (
	Invocation       Type = 1 // a call, answered by a Completion if it has an id
	StreamItem       Type = 2 // one item of a stream
	Completion       Type = 3 // the end of an Invocation or of a stream
	StreamInvocation Type = 4 // a call whose results are streamed
	CancelInvocation Type = 5 // the caller does not need the rest
	Ping             Type = 6 // sent to keep the connection alive
	Close            Type = 7 // the last message of its sender
	Ack              Type = 8 // stateful reconnect: everything up to SequenceID has arrived
	Sequence         Type = 9 // stateful reconnect: what follows starts at SequenceID
)

// String returns the name that the protocol has for t.
func (t Type) String() string {
	names := [...]string{"Invocation", "StreamItem", "Completion", "StreamInvocation", "CancelInvocation", "Ping", "Close", "Ack", "Sequence"}
	if t < 1 || int(t) > len(names) {
		return fmt.Sprintf("Type(%d)", int(t))
	}
	return names[t-1]
}

// Message is the envelope of one hub message. The values of the application in it (Arguments, Value) stay encoded.
//
// A parsed message shares the memory of the record that it was parsed from.
type Message struct {
	Type Type
	// ID names an invocation or a stream. Empty: there is none, and no answer is wanted.
	ID []byte
	// Target is the name of the method that is called.
	Target []byte
	// Retargeted is set by a parser that met Target once more behind Arguments.
	Retargeted bool
	// Arguments is the encoded list of arguments. Nil means that there was none.
	Arguments []byte
	// StreamIDs name the streams that the caller will upload.
	StreamIDs [][]byte
	// Value is the encoded item of a StreamItem, or the result of a Completion. Nil means that there is none.
	Value []byte
	// Error is the text of a failed Completion, or of a Close that is due to an error, if HasError is set.
	Error    []byte
	HasError bool
	// AllowReconnect says that a closed connection may be opened again.
	AllowReconnect bool
	// SequenceID belongs to Ack and Sequence.
	SequenceID int64
	// Headers is the encoded map of headers of types 1–5. Nil means that there were none. Troupe writes none: some clients end the connection when they see any.
	Headers []byte
}

// reset empties m, and keeps the memory of its stream ids.
func (m *Message) reset() { *m = Message{StreamIDs: m.StreamIDs[:0]} }

// DataError says that bytes of a peer are no message of the protocol. The connection that carried it cannot go on.
type DataError struct {
	Text string // as the reference server words it, without the name of its exception
}

func (e *DataError) Error() string { return e.Text }

func dataErrorf(format string, args ...any) error {
	return &DataError{Text: fmt.Sprintf(format, args...)}
}

// BindError says that arguments do not fit the parameters that they are bound to. It fails one invocation.
type BindError struct {
	Text  string // as the reference server words it, without the name of its exception
	Cause error  // the error of the decoder; nil if the number of arguments is wrong
}

func (e *BindError) Error() string { return e.Text }

// Unwrap returns the error of the decoder.
func (e *BindError) Unwrap() error { return e.Cause }
