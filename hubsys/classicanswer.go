package hubsys

import (
	"errors"

	"github.com/troupe-go/troupe/actors"
	classicproto "github.com/troupe-go/troupe/proto/classic"
)

// classicProtocol returns the protocol of a call of a client of SignalR 2, or nil.
func classicProtocol(k *actors.Call) *classicproto.Protocol {
	p, _ := k.Connection().Protocol().(*classicproto.Protocol)
	return p
}

// genericText is what a client gets of an error, with the names as it has written them.
func genericText(hub, method string) string {
	return "There was an error invoking Hub method '" + hub + "." + method + "'."
}

// appendResult appends the answer to a call that has returned.
func appendResult(k *actors.Call, dst []byte, value any) ([]byte, error) {
	if p := classicProtocol(k); p != nil {
		return p.AppendAnswer(dst, k.ID(), &classicproto.Answer{State: stateChanges(k), Result: value})
	}
	return k.Connection().Protocol().AppendResult(dst, k.ID(), value)
}

// appendClassicError appends the answer to a call that has failed: with an error, or with a text that is for clients that get detailed errors.
func (h *hub) appendClassicError(k *actors.Call, p *classicproto.Protocol, dst []byte, text string, err error) []byte {
	k.MarkFailed()
	if err != nil {
		text = err.Error()
	}
	var forClient *HubError
	answer := &classicproto.Answer{State: stateChanges(k), Error: text}
	switch {
	case errors.As(err, &forClient) && forClient != nil:
		answer.Error, answer.ForHub, answer.Data = forClient.Message, true, forClient.Data
	case !h.detailed && !sessionOf(k).detailed:
		hub, method, _ := classicproto.Headers(k.RawHeaders())
		answer.Error = genericText(hub, method)
	}
	if answer.Error == "" { // which clients would take for success
		answer.Error = "An error occurred on the server."
	}
	out, err := p.AppendAnswer(dst, k.ID(), answer)
	if err != nil { // data that cannot be encoded
		answer.State, answer.Data = nil, nil
		out, _ = p.AppendAnswer(dst, k.ID(), answer)
	}
	return out
}
