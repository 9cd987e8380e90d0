package typed

import (
	"context"

	"github.com/troupe-go/troupe/hubsys"
)

// Messages of clients, by their numbers of parameters.
type (
	// Message0 is a method of clients without parameters.
	Message0 string
	// Message1 is a method of clients with one parameter.
	Message1[A any] string
	// Message2 is a method of clients with two parameters.
	Message2[A, B any] string
	// Message3 is a method of clients with three parameters.
	Message3[A, B, C any] string
	// Message4 is a method of clients with four parameters.
	Message4[A, B, C, D any] string
)

// Send is Receiver.Send with this message.
func (m Message0) Send(ctx context.Context, to hubsys.Receiver) error { return to.Send(ctx, string(m)) }

// Send is Receiver.Send with this message.
func (m Message1[A]) Send(ctx context.Context, to hubsys.Receiver, a A) error {
	return to.Send(ctx, string(m), a)
}

// Send is Receiver.Send with this message.
func (m Message2[A, B]) Send(ctx context.Context, to hubsys.Receiver, a A, b B) error {
	return to.Send(ctx, string(m), a, b)
}

// Send is Receiver.Send with this message.
func (m Message3[A, B, C]) Send(ctx context.Context, to hubsys.Receiver, a A, b B, c C) error {
	return to.Send(ctx, string(m), a, b, c)
}

// Send is Receiver.Send with this message.
func (m Message4[A, B, C, D]) Send(ctx context.Context, to hubsys.Receiver, a A, b B, c C, d D) error {
	return to.Send(ctx, string(m), a, b, c, d)
}
