package hubsys

import (
	"context"
	"errors"
	"io"
	"reflect"
	"runtime/debug"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// streamed gives the type of the items if t is a stream: iter.Seq2[T, error] or <-chan T. Else it gives nil.
func streamed(t reflect.Type) reflect.Type {
	switch t.Kind() {
	case reflect.Chan:
		if t.ChanDir() == reflect.RecvDir {
			return t.Elem()
		}
	case reflect.Func:
		if t.CanSeq2() && t.In(0).In(1) == errorType {
			return t.In(0).In(0)
		}
	}
	return nil
}

// ---- from the hub to the client

// streamText is what a client gets of an error in a stream (spec §6.3).
const streamText = "An error occurred on the server while streaming results."

// stream sends the items that a method has returned, and appends the completion.
func (h *hub) stream(k *actors.Call, dst []byte, result reflect.Value) []byte {
	if result.IsNil() {
		h.log.Error("a hub method returned a nil stream", "connection", k.Connection().ID(), "method", k.Method)
		return h.refuse(k, dst, "The value returned by the streaming method '"+k.Method+"' is not a ChannelReader<> or IAsyncEnumerable<>.")
	}
	k.Flow()
	err := h.send(k, dst, result)
	if err != nil && !canceled(k, err) {
		h.report(k, "a stream of a hub method failed", err)
		return h.refuse(k, dst, h.Describe(streamText, err))
	}
	return h.ended(k, dst)
}

// ended appends the completion of a stream that has come to its end, or that nobody wants any more.
func (h *hub) ended(k *actors.Call, dst []byte) []byte {
	m := hubproto.Message{Type: hubproto.Completion, ID: k.ID()}
	return k.Connection().Protocol().Append(dst, &m)
}

// send sends items until they end, or nobody wants more; dst is memory to encode them in.
func (h *hub) send(k *actors.Call, dst []byte, items reflect.Value) error {
	p := k.Connection().Protocol()
	send := func(item reflect.Value) error {
		b, err := p.AppendItem(dst[:0], k.ID(), item.Interface())
		if err != nil {
			return err
		}
		if dst = b; !k.Item(b) {
			return context.Cause(k)
		}
		return nil
	}
	if items.Kind() == reflect.Func {
		for item, failure := range items.Seq2() {
			if err, _ := failure.Interface().(error); err != nil {
				return err
			}
			if err := send(item); err != nil {
				return err
			}
		}
		return nil
	}
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: items}, {Dir: reflect.SelectRecv, Chan: reflect.ValueOf(k.Done())}}
	for {
		item, ok := items.TryRecv()
		if !item.IsValid() { // nothing is there, and the channel is open
			var chosen int
			if chosen, item, ok = reflect.Select(cases); chosen == 1 {
				return context.Cause(k)
			}
		}
		if !ok {
			return context.Cause(k) // an upload that has failed ends with it
		}
		if err := send(item); err != nil {
			return err
		}
	}
}

// canceled tells whether err says no more than that nobody waits for the stream any more.
func canceled(k *actors.Call, err error) bool {
	switch cause := context.Cause(k); cause {
	case ErrCanceled, ErrDisconnected, ErrShutdown, ErrStopped:
		return errors.Is(err, context.Canceled) || errors.Is(err, cause)
	}
	return false
}

// ---- from the client to the hub

// upload is a parameter that a client streams.
type upload struct {
	at    int // among the parameters
	param reflect.Type
	item  reflect.Type
}

// receive gives the parameters that are streams their values.
func (h *hub) receive(k *actors.Call, m *method, f *frame) error {
	list, taken := k.Uploads()
	switch {
	case taken != "":
		return Errorf("Stream ID '%s' is already in use.", taken)
	case len(list) != len(m.uploads):
		return Errorf("Client sent %d stream(s), Hub method expects %d.", len(list), len(m.uploads))
	}
	for i, u := range m.uploads {
		in := &intake{hub: h, call: k, from: list[i], item: u.item}
		if u.param.Kind() == reflect.Func {
			f.uploads[i].Set(in.sequence(u.param))
		} else {
			f.uploads[i].Set(in.channel(u.param))
		}
	}
	return nil
}

// intake takes what a client streams to one call.
type intake struct {
	hub  *hub
	call *actors.Call
	from *actors.Upload
	item reflect.Type
}

// next waits for an item.
func (in *intake) next() (item reflect.Value, err error) {
	item = reflect.New(in.item).Elem()
	err = in.from.Next(func(value []byte) error {
		if err := in.call.Connection().Protocol().BindValue(value, item); err != nil {
			return &HubError{Message: in.hub.Describe("Failed to bind Stream message.", err), Err: err}
		}
		return nil
	})
	var failure *actors.ClientError
	if errors.As(err, &failure) {
		err = &HubError{Message: failure.Text, Err: err}
	}
	return item, err
}

// sequence is the value of an iter.Seq2[T, error]. The client's error, or the reason why the call has ended, is its last element.
func (in *intake) sequence(t reflect.Type) reflect.Value {
	return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		for {
			item, err := in.next()
			if err == io.EOF {
				return nil
			}
			failure := reflect.Zero(errorType)
			if err != nil {
				item, failure = reflect.Zero(in.item), reflect.ValueOf(&err).Elem()
			}
			if !args[0].Call([]reflect.Value{item, failure})[0].Bool() || err != nil {
				return nil
			}
		}
	})
}

// channel is the value of a <-chan T. The client's error ends the call's context, before the channel is closed.
func (in *intake) channel(t reflect.Type) reflect.Value {
	c := reflect.MakeChan(reflect.ChanOf(reflect.BothDir, in.item), 0)
	go func() { // which ends with the call, if not before
		defer c.Close()
		var err error = &PanicError{} // runtime.Goexit: the application's code decodes items
		defer func() {
			if reason := recover(); reason != nil {
				err = &PanicError{Value: reason, Stack: debug.Stack()}
			}
			var panicked *PanicError
			if errors.As(err, &panicked) {
				in.hub.log.Error("decoding an item panicked", "connection", in.call.Connection().ID(), "method", in.call.Method, "error", err, "stack", string(panicked.Stack))
			}
			if err != io.EOF {
				in.call.Fail(err)
			}
		}()
		cases := []reflect.SelectCase{
			{Dir: reflect.SelectSend, Chan: c},
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(in.call.Done())},
		}
		for {
			item, failure := in.next()
			if failure != nil {
				err = failure
				return
			}
			cases[0].Send = item
			if chosen, _, _ := reflect.Select(cases); chosen > 0 {
				err = io.EOF
				return
			}
		}
	}()
	return c.Convert(t)
}
