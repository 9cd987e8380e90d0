package hubsys

import (
	"context"
	"errors"
	"strings"

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

// classicUnauthorized is what a client that gets detailed errors is told of a method that it may not call.
func classicUnauthorized(hub, method string) string {
	return "Caller is not authorized to invoke the " + method + " method on " + hub + "."
}

// unresolved returns the text of a call of a client of SignalR 2 with a number of arguments that no method takes, as the original words it.
func (m *method) unresolved(k *actors.Call) string {
	if classicProtocol(k) == nil || m.variadic || k.Connection().Protocol().CountArguments(k.Arguments()) == len(m.params) {
		return ""
	}
	name, _ := k.Target()
	if string(name) != m.name {
		return unknownMethod(k, string(name))
	}
	text := "'" + m.name + "' method could not be resolved. Potential candidates are: "
	for _, one := range append([]*method{m}, m.overloads...) {
		params := make([]string, len(one.params))
		for i, t := range one.params {
			params[i] = t.String()
		}
		text += "\n" + m.name + "(" + strings.Join(params, ", ") + ")"
	}
	return text
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
	if err == context.Canceled {
		text = "The operation was canceled."
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
