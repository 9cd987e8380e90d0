package hubproto_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// view is a message in a form that compares and prints well. What there is none of is empty.
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
		Type: m.Type, ID: string(m.ID), Target: string(m.Target), Retargeted: m.Retargeted, Arguments: string(m.Arguments), Value: string(m.Value),
		Error: string(m.Error), HasError: m.HasError, AllowReconnect: m.AllowReconnect, SequenceID: m.SequenceID, Headers: string(m.Headers),
	}
	for _, id := range m.StreamIDs {
		v.StreamIDs = append(v.StreamIDs, string(id))
	}
	return v
}

// meaningful leaves of v what the protocol gives a meaning in a message of its type: what Append writes.
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

func TestTypeNames(t *testing.T) {
	names := map[hubproto.Type]string{
		hubproto.Invocation: "Invocation", hubproto.StreamItem: "StreamItem", hubproto.Completion: "Completion",
		hubproto.StreamInvocation: "StreamInvocation", hubproto.CancelInvocation: "CancelInvocation", hubproto.Ping: "Ping",
		hubproto.Close: "Close", hubproto.Ack: "Ack", hubproto.Sequence: "Sequence",
		0: "Type(0)", 10: "Type(10)", -1: "Type(-1)", 1 << 31: "Type(2147483648)",
	}
	for typ, name := range names {
		assert.Equal(t, name, typ.String())
	}
}

func TestTypeNumbers(t *testing.T) {
	// The numbers are the wire format.
	for i, typ := range []hubproto.Type{
		hubproto.Invocation, hubproto.StreamItem, hubproto.Completion, hubproto.StreamInvocation, hubproto.CancelInvocation,
		hubproto.Ping, hubproto.Close, hubproto.Ack, hubproto.Sequence,
	} {
		assert.EqualValues(t, i+1, typ)
	}
}

func TestErrorTexts(t *testing.T) {
	cause := errors.New("cause")
	bind := &hubproto.BindError{Text: "text", Cause: cause}
	assert.EqualError(t, bind, "text")
	assert.ErrorIs(t, bind, cause)
	assert.NoError(t, (&hubproto.BindError{Text: "text"}).Unwrap())
	assert.EqualError(t, &hubproto.DataError{Text: "text"}, "text")
	assert.EqualError(t, &hubproto.TooLargeError{Limit: 32768},
		"The maximum message size of 32768B was exceeded. The message size can be configured in AddHubOptions.")
}
