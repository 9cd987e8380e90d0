package hubactor

import (
	"context"
	"errors"
	"iter"
	"reflect"

	"github.com/troupe-go/troupe/hubsys"
)

// Items is a field of the arguments of a [Call], for a stream from the client. Its items arrive behind the call as messages, each an *[Item][V].
type Items[V any] struct{ _ struct{} }

// Item is a message: an item of a stream from a client, or its end, which is the last message. While the actor has not handled an item, and
// HubOptions.StreamBufferCapacity further ones wait, nothing is read from the client.
type Item[V any] struct {
	Of    *hubsys.Call
	Value V
	End   bool
	Err   error // of the client, with End

	done chan struct{}
}

// handled is called when the actor has returned from the message.
func (i *Item[V]) handled() { close(i.done) }

// streamed is an Items of any type.
type streamed interface {
	item() reflect.Type
	pump() pump
}

func (*Items[V]) item() reflect.Type { return reflect.TypeFor[V]() }
func (*Items[V]) pump() pump         { return &itemPump[V]{} }

// pump passes the items of a stream to an actor.
type pump interface {
	target() any // what the stream is bound to
	pump(ctx context.Context, of *hubsys.Call, to Ref)
}

type itemPump[V any] struct{ stream iter.Seq2[V, error] }

func (p *itemPump[V]) target() any { return &p.stream }

func (p *itemPump[V]) pump(ctx context.Context, of *hubsys.Call, to Ref) {
	last := &Item[V]{Of: of, End: true, done: make(chan struct{})}
	for value, err := range p.stream {
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, hubsys.ErrReturned) {
				return // the call is over
			}
			last.Err = err
			break
		}
		one := &Item[V]{Of: of, Value: value, done: make(chan struct{})}
		to.Tell(one)
		select {
		case <-one.done:
		case <-ctx.Done():
			return
		}
	}
	to.Tell(last)
}
