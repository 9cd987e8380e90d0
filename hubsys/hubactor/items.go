package hubactor

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"runtime/debug"
	"sync"

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

	reply *reply // of the call
	done  chan struct{}
	once  *sync.Once
}

// handled is called when the actor has returned from the message, each time that it gets it.
func (i *Item[V]) handled() { i.once.Do(func() { close(i.done) }) }

// fail answers the call with the error of a panic.
func (i *Item[V]) fail(err error) { i.reply.put(err) }

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
	pump(ctx context.Context, of *hubsys.Call, to Ref, reply *reply)
}

type itemPump[V any] struct{ stream iter.Seq2[V, error] }

func (p *itemPump[V]) target() any { return &p.stream }

func (p *itemPump[V]) pump(ctx context.Context, of *hubsys.Call, to Ref, reply *reply) {
	returned := false
	defer func() { // code of the application decodes items
		if reason := recover(); !returned {
			reply.put(&hubsys.PanicError{Value: reason, Stack: debug.Stack()})
		}
	}()
	p.pumpItems(ctx, of, to, reply)
	returned = true
}

func (p *itemPump[V]) pumpItems(ctx context.Context, of *hubsys.Call, to Ref, reply *reply) {
	item := func() *Item[V] {
		return &Item[V]{Of: of, reply: reply, done: make(chan struct{}), once: new(sync.Once)}
	}
	last := item()
	last.End = true
	for value, err := range p.stream {
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, hubsys.ErrReturned) {
				return // the call is over
			}
			last.Err = err
			break
		}
		one := item()
		one.Value = value
		to.Tell(one)
		select {
		case <-one.done:
		case <-ctx.Done():
			return
		}
	}
	if !reply.over.Load() { // otherwise the stream has ended with the call
		to.Tell(last)
	}
}
