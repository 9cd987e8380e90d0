package actors

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/troupe-go/troupe/proto/hubproto"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// invokeElsewhere is Invoke for a client of another node, which waits for the answer there.
func (h *Hub) invokeElsewhere(ctx context.Context, id, target string, args []any, bind func(hubproto.Protocol, []byte) error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ErrUnanswered, context.Cause(ctx))
	}
	m := &message{hub: h, target: target, args: args, id: []byte("s" + h.sys.node.String() + "-" + strconv.FormatUint(h.results.last.Add(1), 10))}
	var encoded [encodings][]byte
	if err := m.encodeForNodes(&encoded); err != nil {
		return err
	}
	var all []*nodev1.Encoding
	for i, p := range h.protocols {
		if encoded[i] != nil {
			all = append(all, &nodev1.Encoding{Protocol: p.Name(), Message: encoded[i]})
		}
	}
	_, limited := ctx.Deadline()
	passSlot(ctx)
	a, err := h.askOwner(ctx, id, &nodev1.Request{Kind: &nodev1.Request_Invoke{Invoke: &nodev1.Invoke{Id: string(m.id), Encodings: all, HasDeadline: limited}}})
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w (%w)", ErrUnanswered, err)
	case err != nil:
		return err
	case a == nil:
		return &goneError{id: id}
	case isUnanswered(a):
		return fmt.Errorf("%w (%w)", ErrUnanswered, h.sys.nodes.unanswered(a))
	}
	switch a.GetKind() {
	case nodev1.Answer_KIND_DONE:
		if i := h.protocolNamed(a.GetResult().GetProtocol()); i >= 0 {
			return bind(h.protocols[i], a.GetResult().GetMessage())
		}
		return fmt.Errorf("hubsys: the result of %q is in a protocol that this node does not speak: %s", target, a.GetResult().GetProtocol())
	case nodev1.Answer_KIND_CLIENT_FAILED:
		return &ClientError{Text: a.GetText()}
	case nodev1.Answer_KIND_NO_RESULT:
		return ErrNoResult
	case nodev1.Answer_KIND_NOT_SUPPORTED:
		return ErrNotSupported
	case nodev1.Answer_KIND_UNANSWERED:
		return fmt.Errorf("%w (%w)", ErrUnanswered, ErrInvokeTimeout)
	case nodev1.Answer_KIND_INBOUND_FULL:
		return ErrInboundFull
	}
	return &goneError{id: id, existed: true}
}

// serveInvoke calls a method of a client for another node.
func (h *Hub) serveInvoke(key nodeRequest, conn *Connection, in *nodev1.Invoke, reply func(*nodev1.Answer)) {
	switch {
	case conn == nil || conn.isClosing.Load():
		reply(&nodev1.Answer{Kind: nodev1.Answer_KIND_GONE})
		return
	case !conn.hasResults():
		reply(&nodev1.Answer{Kind: nodev1.Answer_KIND_NOT_SUPPORTED})
		return
	}
	var encoded []byte
	for _, e := range in.GetEncodings() {
		if h.protocolNamed(e.GetProtocol()) == int(conn.protocol) {
			encoded = e.GetMessage()
		}
	}
	if encoded == nil { // its protocol was announced before the sender could know of the connection
		reply(&nodev1.Answer{Kind: nodev1.Answer_KIND_NOT_SUPPORTED})
		return
	}
	call := (&message{hub: h}).packet(conn.Protocol(), encoded)
	h.sys.nodes.serve(key, func(ctx context.Context) {
		r := &pendingResult{conn: conn, answer: make(chan answer, 1)}
		h.results.addAs(in.GetId(), r)
		defer h.results.end(in.GetId(), r)
		a, err := h.await(ctx, r, in.GetId(), call, in.GetHasDeadline())
		if err != nil {
			reply(&nodev1.Answer{Kind: kindOf(err)})
			return
		}
		defer a.batch.done(1)
		switch m := a.message; {
		case m.HasError:
			reply(&nodev1.Answer{Kind: nodev1.Answer_KIND_CLIENT_FAILED, Text: string(m.Error)})
		case m.Value == nil:
			reply(&nodev1.Answer{Kind: nodev1.Answer_KIND_NO_RESULT})
		default:
			reply(&nodev1.Answer{Kind: nodev1.Answer_KIND_DONE, Result: &nodev1.Encoding{Protocol: conn.Protocol().Name(), Message: m.Value}})
		}
	})
}

// kindOf returns what another node is told of an error of await.
func kindOf(err error) nodev1.Answer_Kind {
	switch {
	case errors.Is(err, ErrInboundFull):
		return nodev1.Answer_KIND_INBOUND_FULL
	case errors.Is(err, ErrUnanswered):
		return nodev1.Answer_KIND_UNANSWERED
	}
	return nodev1.Answer_KIND_GONE
}
