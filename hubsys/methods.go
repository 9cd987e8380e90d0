package hubsys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// methods are the methods of a hub that clients can call, by the names that clients use.
type methods struct {
	closes bool // hub values are closed after their calls
	exact  map[string]*method
	folded map[string]*method // in lower case
}

// find looks a name up without regard to case.
func (ms *methods) find(name []byte) *method {
	if m := ms.exact[string(name)]; m != nil {
		return m
	}
	return ms.folded[strings.ToLower(string(name))]
}

// method is a hub method as it is called: found once, when the hub is registered.
type method struct {
	name         string // as clients see it
	fn           reflect.Value
	takesContext bool           // as its first parameter
	params       []reflect.Type // those that the client gives
	uploads      []uploadParam  // those that the client streams, by their places among the parameters
	returnsValue bool
	streams      bool // the value is a stream
	returnsError bool
	frames       sync.Pool
}

// callArgs is memory for the parameters of one call. The method gets copies of what lies in it, so it can be used again.
type callArgs struct {
	args    []reflect.Value // hub value, perhaps a context, parameters
	params  []reflect.Value // the parameters that are arguments; they can be set
	uploads []reflect.Value // those that are streams
	ctx     context.Context
}

func (m *method) borrow() *callArgs {
	if f, ok := m.frames.Get().(*callArgs); ok {
		return f
	}
	f := &callArgs{args: make([]reflect.Value, 1, 2+len(m.params)+len(m.uploads))}
	if m.takesContext {
		f.args = append(f.args, reflect.ValueOf(&f.ctx).Elem())
	}
	for range len(m.params) + len(m.uploads) {
		at := len(f.params) + len(f.uploads)
		if n := len(f.uploads); n < len(m.uploads) && m.uploads[n].at == at {
			f.uploads = append(f.uploads, reflect.New(m.uploads[n].param).Elem())
			f.args = append(f.args, f.uploads[n])
		} else {
			f.params = append(f.params, reflect.New(m.params[len(f.params)]).Elem())
			f.args = append(f.args, f.params[len(f.params)-1])
		}
	}
	return f
}

// call runs the method.
func (m *method) call(hub Instance, k *actors.Call, f *callArgs) (result reflect.Value, err error) {
	f.args[0] = reflect.ValueOf(hub)
	f.ctx = k
	results := m.fn.Call(f.args)
	if m.returnsError {
		if err, _ := results[len(results)-1].Interface().(error); err != nil {
			return reflect.Value{}, err
		}
	}
	if m.returnsValue {
		return results[0], nil
	}
	return reflect.Value{}, nil
}

// recycle makes memory available for the next call.
func (m *method) recycle(f *callArgs) {
	f.args[0], f.ctx = reflect.Value{}, nil
	for _, p := range f.args[1:] {
		p.SetZero()
	}
	m.frames.Put(f)
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
	hubType     = reflect.TypeFor[Hub]()
	closerType  = reflect.TypeFor[io.Closer]()
)

func newMethod(rm reflect.Method) (*method, error) {
	t := rm.Type
	m := &method{fn: rm.Func}
	if t.IsVariadic() {
		return nil, errors.New("it is variadic; take a slice instead")
	}
	first := 1 // behind the receiver
	if t.NumIn() > 1 && t.In(1) == contextType {
		m.takesContext, first = true, 2
	}
	for i := first; i < t.NumIn(); i++ {
		if item := itemType(t.In(i)); item != nil {
			if err := bindable(item); err != nil {
				return nil, fmt.Errorf("parameter %d: its items: %w", i-first+1, err)
			}
			m.uploads = append(m.uploads, uploadParam{at: i - first, param: t.In(i), item: item})
			continue
		}
		if err := bindable(t.In(i)); err != nil {
			return nil, fmt.Errorf("parameter %d: %w", i-first+1, err)
		}
		m.params = append(m.params, t.In(i))
	}
	outs := t.NumOut()
	if outs > 0 && t.Out(outs-1) == errorType {
		m.returnsError = true
		outs--
	}
	switch {
	case outs > 1:
		return nil, errors.New("it returns more than a value and an error")
	case outs == 1:
		if t.Out(0) == errorType {
			return nil, errors.New("it returns an error in front of its last result")
		}
		result := t.Out(0)
		if item := itemType(result); item != nil {
			m.streams, result = true, item
		}
		if err := hubproto.CheckEncodable(result); err != nil {
			return nil, fmt.Errorf("its result: %w", err)
		}
		m.returnsValue = true
	}
	return m, nil
}

// bindable refuses types that the arguments of clients cannot be bound to.
func bindable(t reflect.Type) error {
	switch t {
	case contextType:
		return errors.New("a context.Context can only be the first parameter")
	case reflect.TypeFor[*Call]():
		return errors.New("the call is no parameter: Hub.Call gives it")
	}
	return hubproto.CheckBindable(t)
}
