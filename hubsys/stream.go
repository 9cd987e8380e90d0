package hubsys

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// itemType returns the type of the items if t is a stream, iter.Seq2[T, error] or <-chan T, and nil otherwise.
func itemType(t reflect.Type) reflect.Type {
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

// streamText is what a client gets of an error in a stream (docs/protocol.md, 6.3).
const streamText = "An error occurred on the server while streaming results."

// stream sends the items that a method has returned, and appends the completion.
func (h *hub) stream(k *actors.Call, dst []byte, result reflect.Value) []byte {
	if !result.IsValid() || itemType(result.Type()) == nil || result.IsNil() {
		h.logError(k, "a hub method returned no stream")
		return h.appendError(k, dst, "The value returned by the streaming method '"+k.Method()+"' is not a ChannelReader<> or IAsyncEnumerable<>.")
	}
	k.StartStream()
	err := h.sendItems(k, dst, result)
	if err == nil {
		err = cutShort(k)
	}
	if err != nil && (context.Cause(k) != ErrCanceled || !isCanceled(k, err)) {
		h.report(k, "a stream of a hub method failed", err)
		return h.appendError(k, dst, h.Describe(streamText, err))
	}
	return h.answerStreamEnd(k, dst)
}

// cutShort returns why the server has ended the context of a stream. Iterators return when that ends, so the client must not take what it has got
// for all.
func cutShort(k *actors.Call) error {
	if k.Err() == nil { // most streams need no context, which Cause would make
		return nil
	}
	switch cause := context.Cause(k); cause {
	case ErrDisconnected, ErrShutdown, ErrStopped:
		return cause
	}
	return nil
}

// answerStreamEnd appends the completion of a stream that has come to its end, or that its client has canceled.
func (h *hub) answerStreamEnd(k *actors.Call, dst []byte) []byte {
	m := hubproto.Message{Type: hubproto.Completion, ID: k.ID()}
	return k.Connection().Protocol().Append(dst, &m)
}

// sendItems sends items until they end, or nobody wants more; dst is memory to encode them in.
func (h *hub) sendItems(k *actors.Call, dst []byte, items reflect.Value) error {
	s := &itemSender{k, k.Connection().Protocol(), dst}
	if send, ok := commonStreams[itemType(items.Type())]; ok {
		return send(s, items)
	}
	if items.Kind() == reflect.Func {
		for item, failure := range reflected(items) {
			if err, _ := failure.Interface().(error); err != nil {
				return err
			}
			if err := sendItem(s, item.Interface()); err != nil {
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
		if err := sendItem(s, item.Interface()); err != nil {
			return err
		}
	}
}

// reflected is items.Seq2, which allocates the result of each yield.
func reflected(items reflect.Value) iter.Seq2[reflect.Value, reflect.Value] {
	more, enough := []reflect.Value{reflect.ValueOf(true)}, []reflect.Value{reflect.ValueOf(false)}
	return func(yield func(item, failure reflect.Value) bool) {
		items.Call([]reflect.Value{reflect.MakeFunc(items.Type().In(0), func(in []reflect.Value) []reflect.Value {
			if yield(in[0], in[1]) {
				return more
			}
			return enough
		})})
	}
}

// itemSender sends the items of one stream.
type itemSender struct {
	call     *actors.Call
	protocol hubproto.Protocol
	buffer   []byte // which items are encoded in
}

func sendItem[T any](s *itemSender, item T) error {
	b, err := hubproto.AppendItem(s.protocol, s.buffer[:0], s.call.ID(), item)
	if err != nil {
		return fmt.Errorf("hubsys: an item of the stream of %q cannot be encoded: %w", s.call.Method(), err)
	}
	if s.buffer = b; !s.call.SendItem(b) {
		return context.Cause(s.call)
	}
	return nil
}

// commonStreams are the streams that are read without reflection, by the type of their items.
var commonStreams = map[reflect.Type]func(*itemSender, reflect.Value) error{
	reflect.TypeFor[any]():     sendCommon[any],
	reflect.TypeFor[string]():  sendCommon[string],
	reflect.TypeFor[bool]():    sendCommon[bool],
	reflect.TypeFor[int]():     sendCommon[int],
	reflect.TypeFor[int32]():   sendCommon[int32],
	reflect.TypeFor[int64]():   sendCommon[int64],
	reflect.TypeFor[float64](): sendCommon[float64],
}

// sendCommon is sendItems for items of one type.
func sendCommon[T any](s *itemSender, items reflect.Value) error {
	if items.Kind() == reflect.Func {
		for item, err := range as[iter.Seq2[T, error]](items) {
			if err != nil {
				return err
			}
			if err := sendItem(s, item); err != nil {
				return err
			}
		}
		return nil
	}
	c, done := as[<-chan T](items), s.call.Done()
	for {
		var item T
		var ok bool
		select {
		case item, ok = <-c:
		default: // nothing is there, and the channel is open
			select {
			case item, ok = <-c:
			case <-done:
				return context.Cause(s.call)
			}
		}
		if !ok {
			return context.Cause(s.call)
		}
		if err := sendItem(s, item); err != nil {
			return err
		}
	}
}

// as converts a value of another type that has the same underlying one.
func as[T any](v reflect.Value) T { return v.Convert(reflect.TypeFor[T]()).Interface().(T) }

// isCanceled reports whether err only says that nobody waits for the call any more.
func isCanceled(k *actors.Call, err error) bool {
	switch cause := context.Cause(k); cause {
	case ErrCanceled, ErrDisconnected, ErrShutdown, ErrStopped:
		return errors.Is(err, context.Canceled) || errors.Is(err, cause)
	}
	return false
}
