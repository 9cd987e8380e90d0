package hubsys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
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
	name    string // as clients see it
	fn      reflect.Value
	context bool           // the first parameter is a context.Context
	params  []reflect.Type // those that the client gives
	uploads []upload       // those that the client streams, by their places among the parameters
	value   bool           // it returns a value
	stream  bool           // which is a stream
	fails   bool           // it returns an error
	frames  sync.Pool
}

// frame is memory for the parameters of one call. The method gets copies of what lies in it, so it can be used again.
type frame struct {
	args    []reflect.Value // hub value, perhaps a context, parameters
	params  []reflect.Value // the parameters that are arguments; they can be set
	uploads []reflect.Value // those that are streams
	ctx     context.Context
}

func (m *method) borrow() *frame {
	if f, ok := m.frames.Get().(*frame); ok {
		return f
	}
	f := &frame{args: make([]reflect.Value, 1, 2+len(m.params)+len(m.uploads))}
	if m.context {
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

// call runs the method. A frame whose call has panicked is not used again.
func (m *method) call(hub Instance, k *actors.Call, f *frame) (result reflect.Value, err error) {
	f.args[0] = reflect.ValueOf(hub)
	f.ctx = k
	results := m.fn.Call(f.args)
	f.args[0], f.ctx = reflect.Value{}, nil
	for _, p := range f.args[1:] {
		p.SetZero()
	}
	m.frames.Put(f)
	if m.fails {
		if err, _ := results[len(results)-1].Interface().(error); err != nil {
			return reflect.Value{}, err
		}
	}
	if m.value {
		return results[0], nil
	}
	return reflect.Value{}, nil
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
	hubType     = reflect.TypeFor[Hub]()
	closerType  = reflect.TypeFor[io.Closer]()
)

// findMethods finds what clients can call, and reports everything that is wrong.
func findMethods(t reflect.Type, names map[string]string) (*methods, error) {
	ms := &methods{exact: map[string]*method{}, folded: map[string]*method{}}
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("method %s: "+format, append([]any{name}, args...)...))
	}
	unused := maps.Clone(names)
	declared := map[string]string{} // by the name in lower case: the name in Go
	for i := range t.NumMethod() {
		rm := t.Method(i)
		name := rm.Name
		if fromHub(rm) {
			continue
		}
		delete(unused, name)
		if names[name] == "-" {
			continue
		}
		switch name {
		case "OnConnected":
			if !t.Implements(reflect.TypeFor[onConnected]()) {
				fault(name, "its signature is not OnConnected(context.Context) error")
			}
			continue
		case "OnDisconnected":
			if !t.Implements(reflect.TypeFor[onDisconnected]()) {
				fault(name, "its signature is not OnDisconnected(context.Context, error) error")
			}
			continue
		}
		for _, right := range []string{"OnConnected", "OnDisconnected"} {
			if names[name] == "" && (strings.EqualFold(name, right) || strings.EqualFold(name, right+"Async")) {
				fault(name, "it would be a method for clients: the lifetime method is called %s; Methods[%q] says if it is for clients, or hides it", right, name)
			}
		}
		from := promotedFrom(t, name)
		if name == "Close" && from == nil {
			if ms.closes = t.Implements(closerType); !ms.closes {
				fault(name, "its signature is not Close() error")
			}
			continue
		}
		if from != nil {
			fault(name, `it comes from the embedded %s, which is no hub: declare it on the hub, or hide it with Methods[%q] = "-"`, from, name)
			continue
		}
		m, err := newMethod(rm)
		if err != nil {
			fault(name, "%w", err)
			continue
		}
		m.name = or(names[name], name)
		key := strings.ToLower(m.name)
		if other, ok := declared[key]; ok {
			fault(name, "clients cannot tell it from %s: both are called %q", other, m.name)
			continue
		}
		declared[key] = name
		ms.exact[m.name], ms.folded[key] = m, m
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		fault(name, "HubOptions.Methods names it, but the hub has no such method")
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("hubsys: hub %s: %w", t, errors.Join(faults...))
	}
	return ms, nil
}

func newMethod(rm reflect.Method) (*method, error) {
	t := rm.Type
	m := &method{fn: rm.Func}
	if t.IsVariadic() {
		return nil, errors.New("it is variadic; take a slice instead")
	}
	first := 1 // behind the receiver
	if t.NumIn() > 1 && t.In(1) == contextType {
		m.context, first = true, 2
	}
	for i := first; i < t.NumIn(); i++ {
		if item := streamed(t.In(i)); item != nil {
			if err := bindable(item); err != nil {
				return nil, fmt.Errorf("parameter %d: its items: %w", i-first+1, err)
			}
			m.uploads = append(m.uploads, upload{at: i - first, param: t.In(i), item: item})
			continue
		}
		if err := bindable(t.In(i)); err != nil {
			return nil, fmt.Errorf("parameter %d: %w", i-first+1, err)
		}
		m.params = append(m.params, t.In(i))
	}
	outs := t.NumOut()
	if outs > 0 && t.Out(outs-1) == errorType {
		m.fails = true
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
		if item := streamed(result); item != nil {
			m.stream, result = true, item
		}
		if err := hubproto.CheckEncodable(result); err != nil {
			return nil, fmt.Errorf("its result: %w", err)
		}
		m.value = true
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

// fromHub tells whether a method is one of Hub itself.
func fromHub(m reflect.Method) bool {
	base, ok := reflect.PointerTo(hubType).MethodByName(m.Name)
	if !ok {
		return false
	}
	// The same signature but for the receiver.
	a, b := m.Type, base.Type
	if a.NumIn() != b.NumIn() || a.NumOut() != b.NumOut() {
		return false
	}
	for i := range a.NumOut() {
		if a.Out(i) != b.Out(i) {
			return false
		}
	}
	return true
}

// promotedFrom gives the embedded type that a method comes from, or nil if it is declared on the hub or on a hub that it embeds.
func promotedFrom(t reflect.Type, name string) reflect.Type {
	_, from := origin(t, name)
	return from
}

// origin finds how deep in a type a method is declared, and the type outside of hubs that it comes from, if that is so. Of several
// embedded types the one where it is least deep has the say.
func origin(t reflect.Type, name string) (depth int, from reflect.Type) {
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct || isDeclared(t, name) {
		return 0, nil
	}
	depth = math.MaxInt32
	for i := range t.Elem().NumField() {
		f := t.Elem().Field(i)
		p := f.Type
		if p.Kind() == reflect.Struct {
			p = reflect.PointerTo(p)
		}
		if _, ok := p.MethodByName(name); !f.Anonymous || !ok {
			continue
		}
		if d, inner := origin(p, name); d+1 < depth {
			depth, from = d+1, inner
			if !isHub(p) {
				from = f.Type
			}
		}
	}
	return depth, from
}

// isHub tells whether p, a pointer to a struct, embeds Hub.
func isHub(p reflect.Type) bool {
	return p.Kind() == reflect.Pointer && p.Implements(reflect.TypeFor[Instance]())
}

// isDeclared tells whether a method is written down for a type: the compiler makes the others, and no file holds them.
func isDeclared(t reflect.Type, name string) bool {
	written := func(t reflect.Type) bool {
		m, ok := t.MethodByName(name)
		if !ok {
			return false
		}
		pc := m.Func.Pointer()
		file, _ := runtime.FuncForPC(pc).FileLine(pc)
		return file != "<autogenerated>"
	}
	return written(t) || written(t.Elem())
}
