package classic

import (
	"bytes"
	"encoding/json"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// Received is the method that gets what the client of a raw connection sends. It has no other calls.
const Received = "OnReceived"

// RawInvocation is the call that stands for what the client of a raw connection has sent.
func RawInvocation(data []byte) Invocation {
	id := "0" // so that it is answered
	arguments := append(hubproto.AppendString([]byte{'['}, string(data)), ']')
	return Invocation{Method: Received, Arguments: arguments, ID: &id}
}

// RawValue returns what the client of a raw connection gets of a call of a client method: its first argument.
func RawValue(call []byte) []byte {
	_, rest, _ := bytes.Cut(call, []byte(`,"A":`))
	var arguments []json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(rest)).Decode(&arguments); err != nil || len(arguments) == 0 {
		return []byte("null")
	}
	return arguments[0]
}

// HasFailed reports whether an answer says that its call has failed.
func HasFailed(answer []byte) bool {
	var members struct{ E *string }
	return json.Unmarshal(answer, &members) != nil || members.E != nil
}
