package hubsys

import (
	"errors"
	"io"
	"reflect"
	"runtime/debug"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/logs"
)

// uploadParam is a parameter that a client streams.
type uploadParam struct {
	param reflect.Type
	item  reflect.Type
}

// bindUploads sets the parameters that are streams.
func (h *hub) bindUploads(k *actors.Call, uploads []uploadParam, params []reflect.Value) error {
	list, taken := k.Uploads()
	switch {
	case taken != "":
		return Errorf("Stream ID '%s' is already in use.", taken)
	case len(list) != len(uploads):
		return Errorf("Client sent %d stream(s), Hub method expects %d.", len(list), len(uploads))
	}
	for i, u := range uploads {
		in := &uploadReader{hub: h, call: k, from: list[i], item: u.item}
		if u.param.Kind() == reflect.Func {
			params[i].Set(in.sequence(u.param))
		} else {
			params[i].Set(in.channel(u.param))
		}
	}
	return nil
}

// uploadReader reads a stream from the client.
type uploadReader struct {
	hub  *hub
	call *actors.Call
	from *actors.Upload
	item reflect.Type

	beside bool // it is read beside the code of the call, which has not taken anything yet
}

// next waits for an item.
func (in *uploadReader) next() (item reflect.Value, err error) {
	item = reflect.New(in.item).Elem()
	wait := in.from.Next
	if in.beside {
		wait = in.from.NextBeside
	}
	err = wait(func(value []byte) error {
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

// sequence returns an iter.Seq2[T, error]. The client's error, or the reason why the call has ended, is its last element.
func (in *uploadReader) sequence(t reflect.Type) reflect.Value {
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

// channel returns a <-chan T. The client's error ends the call's context, before the channel is closed.
func (in *uploadReader) channel(t reflect.Type) reflect.Value {
	c := reflect.MakeChan(reflect.ChanOf(reflect.BothDir, in.item), 0)
	in.beside = true
	go func() { // which ends with the call, if not before
		defer c.Close()
		var err error = &PanicError{} // runtime.Goexit: the application's code decodes items
		defer func() {
			if reason := recover(); reason != nil {
				err = &PanicError{Value: reason, Stack: debug.Stack()}
			}
			var panicked *PanicError
			if errors.As(err, &panicked) {
				in.hub.logError(in.call, "decoding an item panicked", "error", logs.Error(err), "stack", string(panicked.Stack))
			}
			if err != io.EOF {
				in.call.Fail(err)
			}
		}()
		cases := []reflect.SelectCase{
			{Dir: reflect.SelectSend, Chan: c},
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(in.call.UploadsDone())},
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
			in.beside = false
		}
	}()
	return c.Convert(t)
}
