package hubproto_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/proto/hubproto"
)

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
	// The numbers are part of the wire format.
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
