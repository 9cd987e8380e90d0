package hubactor

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Method is a method of a hub of actors. [Receive] makes one.
type Method struct {
	name  string
	fault error
	// bind makes the message of a call, which reply answers, and the streams of items that go with it.
	bind func(ctx context.Context, in *hubsys.Invocation, reply *reply) (message callMessage, items []pump, err error)
}

// Receive is a method whose calls arrive as a *[Call][T]. T is a struct whose exported fields are the parameters, in their order. A field of
// type [Items] is a stream from the client.
func Receive[T any](name string) Method {
	return Method{name: name, fault: checkParams(reflect.TypeFor[T]()), bind: func(ctx context.Context, in *hubsys.Invocation, reply *reply) (callMessage, []pump, error) {
		c := &Call[T]{Call: in.Call(), ctx: ctx, reply: reply, progress: new(progress)}
		v := reflect.ValueOf(&c.Args).Elem()
		var params []any
		var items []pump
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			param := v.Field(i).Addr().Interface()
			if stream, ok := param.(streamed); ok {
				one := stream.pump()
				items = append(items, one)
				param = one.target()
			}
			params = append(params, param)
		}
		return c, items, in.Bind(params...)
	}}
}

// checkParams reports everything that is wrong with the type of a method's arguments.
func checkParams(t reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("%s is no struct whose fields are the parameters", t)
	}
	var faults []error
	exported := 0
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		exported++
		if stream, ok := reflect.New(f.Type).Interface().(streamed); ok {
			f.Type = stream.item()
		} else if k := f.Type.Kind(); k == reflect.Pointer || k == reflect.Slice || k == reflect.Array {
			if _, ok := reflect.New(f.Type.Elem()).Interface().(streamed); ok {
				faults = append(faults, fmt.Errorf("field %s: Items is a field of its own", f.Name))
				continue
			}
		}
		if err := hubproto.CheckBindable(f.Type); err != nil {
			faults = append(faults, fmt.Errorf("field %s: %w", f.Name, err))
		}
	}
	if exported == 0 && t.NumField() > 0 {
		faults = append(faults, fmt.Errorf("%s has unexported fields only, which are no parameters", t))
	}
	return errors.Join(faults...)
}

// Call is a message: a client has called the method that T belongs to. Respond answers it, with a value, nil, an error, or a stream, which
// is an iter.Seq2[V, error] or a <-chan V and is read outside of the actor. Return does so as well, from any goroutine, and later.
type Call[T any] struct {
	*hubsys.Call
	Args T

	ctx   context.Context
	reply *reply
	*progress
}

// callMessage is a Call of any type.
type callMessage interface {
	claim() bool
	abandon() bool
	handled()
	then(next func())
}

// Context ends when nobody waits for the answer any more.
func (c *Call[T]) Context() context.Context { return c.ctx }

// Return answers the call. Only the first answer counts.
func (c *Call[T]) Return(result any, err error) {
	if err != nil {
		result = err
	}
	c.reply.put(result)
}

// fail answers the call with the error of a panic.
func (c *Call[T]) fail(err error) { c.reply.put(err) }

// Connected is a message: there is a new connection. It comes before the first call of the connection.
type Connected struct{ *hubsys.Call }

// Disconnected is a message: a connection has ended, for the cause that OnDisconnected of a hub gets. It comes behind all calls of the connection.
// As OnDisconnected does, it keeps the connection until the actor has handled it, for as long as HubOptions.DisconnectGrace allows.
type Disconnected struct {
	*hubsys.Call
	Cause error

	*progress
}

// Canceled is a message: nobody waits for the answer to a call any more, because its client has canceled it or has gone, or because
// [Hub].Timeout has passed. It is sent to actors that live longer than a call and have got the call; those that have not, do not get it any more.
type Canceled struct {
	*hubsys.Call
	Cause error
}
