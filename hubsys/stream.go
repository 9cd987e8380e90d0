package hubsys

import (
	"context"
	"errors"
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
		h.log.Error("a hub method returned no stream", "connection", k.Connection().ID(), "method", k.Method())
		return h.appendError(k, dst, "The value returned by the streaming method '"+k.Method()+"' is not a ChannelReader<> or IAsyncEnumerable<>.")
	}
	k.StartStream()
	err := h.sendItems(k, dst, result)
	if err != nil && !isCanceled(k, err) {
		h.report(k, "a stream of a hub method failed", err)
		return h.appendError(k, dst, h.Describe(streamText, err))
	}
	return h.answerStreamEnd(k, dst)
}

// answerStreamEnd appends the completion of a stream that has come to its end, or that nobody wants to have any more.
func (h *hub) answerStreamEnd(k *actors.Call, dst []byte) []byte {
	m := hubproto.Message{Type: hubproto.Completion, ID: k.ID()}
	return k.Connection().Protocol().Append(dst, &m)
}

// sendItems sends items until they end, or nobody wants more; dst is memory to encode them in.
func (h *hub) sendItems(k *actors.Call, dst []byte, items reflect.Value) error {
	p := k.Connection().Protocol()
	send := func(item reflect.Value) error {
		b, err := p.AppendItem(dst[:0], k.ID(), item.Interface())
		if err != nil {
			return err
		}
		if dst = b; !k.SendItem(b) {
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

// isCanceled reports whether err only says that nobody waits for the call any more.
func isCanceled(k *actors.Call, err error) bool {
	switch cause := context.Cause(k); cause {
	case ErrCanceled, ErrDisconnected, ErrShutdown, ErrStopped:
		return errors.Is(err, context.Canceled) || errors.Is(err, cause)
	}
	return false
}
