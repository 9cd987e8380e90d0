package hubsys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

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
	return ms.folded[foldName(string(name))]
}

// overload adds another method of the same name, which clients tell apart by the number of arguments. It returns false if they cannot.
func (m *method) overload(other *method) bool {
	for _, one := range append([]*method{m}, m.overloads...) {
		if len(one.params) == len(other.params) || one.variadic || other.variadic {
			return false
		}
	}
	other.name = m.name
	m.overloads = append(m.overloads, other)
	return true
}

// taking returns the overload that takes the arguments of a call, or m if none does.
func (m *method) taking(k *actors.Call) *method {
	if len(m.overloads) == 0 {
		return m
	}
	n := k.Connection().Protocol().CountArguments(k.Arguments())
	for _, one := range m.overloads {
		if len(one.params) == n {
			return one
		}
	}
	return m
}

// foldName returns the form in which names of methods are compared.
// It is the same for all names that strings.EqualFold takes for equal.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		if r >= utf8.RuneSelf {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				least = min(least, f)
			}
		}
		return unicode.ToLower(least)
	}, name)
}

// method is a hub method as it is called: found once, when the hub is registered.
type method struct {
	name         string    // as clients see it
	hasOwnName   bool      // it is that of Method.Name
	overloads    []*method // of the same name, with other numbers of arguments
	policy       Policy    // nil: everybody may call it
	times        *actors.CallTimes
	fn           reflect.Value
	direct       directCall // instead of fn; may be nil
	takesContext bool       // as its first parameter
	kinds        []paramKind
	params       []reflect.Type // those that the client gives
	variadic     bool           // the last of them takes the remaining arguments
	uploads      []uploadParam  // those that the client streams
	services     []serviceParam // those that Services provide
	reports      []reflect.Type // those that are a Progress
	returnsValue bool
	streams      bool // the value is a stream
	returnsError bool
	frames       sync.Pool
}

// paramKind is who gives a parameter.
type paramKind uint8

const (
	argument paramKind = iota
	upload
	service
	report // a Progress
)

// serviceParam is a parameter that Services provide.
type serviceParam struct {
	param   reflect.Type
	wrapped bool // it is a From
	provide func(context.Context) (any, error)
}

// callArgs is memory for the parameters of one call. The method gets copies of what lies in it, so it can be used again.
type callArgs struct {
	args     []reflect.Value // hub value, perhaps a context, parameters
	params   []reflect.Value // the parameters that are arguments; they can be set
	fixed    int             // of a variadic method: the number of those before the remaining arguments
	rest     reflect.Value   // that takes these; not valid if the method is not variadic
	uploads  []reflect.Value // those that are streams
	services []reflect.Value
	progress []reflect.Value
	ctx      context.Context

	// While filters run:
	method   *method
	value    Instance
	filtered []any // the arguments as filters see them; nil: none has asked for them
}

func (m *method) borrow() *callArgs {
	if f, ok := m.frames.Get().(*callArgs); ok {
		return f
	}
	f := &callArgs{args: make([]reflect.Value, 1, 2+len(m.kinds))}
	if m.takesContext {
		f.args = append(f.args, reflect.ValueOf(&f.ctx).Elem())
	}
	for _, kind := range m.kinds {
		var p reflect.Value
		switch kind {
		case argument:
			p = reflect.New(m.params[len(f.params)]).Elem()
			f.params = append(f.params, p)
		case upload:
			p = reflect.New(m.uploads[len(f.uploads)].param).Elem()
			f.uploads = append(f.uploads, p)
		case service:
			p = reflect.New(m.services[len(f.services)].param).Elem()
			f.services = append(f.services, p)
		case report:
			p = reflect.New(m.reports[len(f.progress)]).Elem()
			f.progress = append(f.progress, p)
		}
		f.args = append(f.args, p)
	}
	if m.variadic {
		f.fixed = len(f.params) - 1
		f.rest = f.params[f.fixed]
	}
	return f
}

// setRest makes room for the remaining of n arguments.
func (f *callArgs) setRest(n int) {
	more := max(0, n-f.fixed)
	f.rest.Set(reflect.MakeSlice(f.rest.Type(), more, more))
	f.params = f.params[:f.fixed]
	for i := range more {
		f.params = append(f.params, f.rest.Index(i))
	}
}

// arguments returns the parameters that clients give.
func (f *callArgs) arguments() []reflect.Value {
	if f.rest.IsValid() {
		return append(f.params[:f.fixed:f.fixed], f.rest)
	}
	return f.params
}

// call runs the method.
func (m *method) call(ctx context.Context, hub Instance, f *callArgs) (result any, err error) {
	if m.direct != nil {
		return m.direct(ctx, hub, f)
	}
	f.args[0] = reflect.ValueOf(hub)
	f.ctx = ctx
	var results []reflect.Value
	if m.variadic {
		results = m.fn.CallSlice(f.args)
	} else {
		results = m.fn.Call(f.args)
	}
	if m.returnsError {
		if err, _ := results[len(results)-1].Interface().(error); err != nil {
			return nil, err
		}
	}
	if m.returnsValue {
		return results[0].Interface(), nil
	}
	return nil, nil
}

// recycle makes memory available for the next call.
func (m *method) recycle(f *callArgs) {
	f.args[0], f.ctx, f.method, f.value, f.filtered = reflect.Value{}, nil, nil, nil, nil
	for _, p := range f.args[1:] {
		p.SetZero()
	}
	if f.rest.IsValid() {
		clear(f.params[f.fixed:])
	}
	m.frames.Put(f)
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
	hubType     = reflect.TypeFor[Hub]()
	closerType  = reflect.TypeFor[io.Closer]()
)

// newMethod returns the method of a hub whose parameters services may provide: implicitly by their types, or only those that are a From.
func newMethod(rm reflect.Method, direct func(fn any) directCall, services Services, implicit bool) (*method, error) {
	t := rm.Type
	m := &method{fn: rm.Func, direct: direct(rm.Func.Interface()), variadic: t.IsVariadic()}
	first := 1 // behind the receiver
	if t.NumIn() > 1 && t.In(1) == contextType {
		m.takesContext, first = true, 2
	}
	for i := first; i < t.NumIn(); i++ {
		if err := m.addParam(t.In(i), services, implicit, m.variadic && i == t.NumIn()-1); err != nil {
			return nil, fmt.Errorf("parameter %d: %w", i-first+1, err)
		}
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
		if result.Kind() != reflect.Interface && result.Implements(errorType) {
			return nil, fmt.Errorf("its result: %s is an error, and would be a value for clients: return it as error", result)
		}
		m.returnsValue = true
	}
	return m, nil
}

// addParam adds a parameter. rest says that it takes the remaining arguments.
func (m *method) addParam(t reflect.Type, services Services, implicit, rest bool) error {
	if wanted := serviceType(t); wanted != nil || implicit && !rest && canBeService(t) {
		provided := cmp.Or(wanted, t)
		if provide := provider(services, provided); provide != nil {
			m.services = append(m.services, serviceParam{param: t, wrapped: wanted != nil, provide: provide})
			m.kinds = append(m.kinds, service)
			return nil
		}
		if wanted != nil {
			return fmt.Errorf("HubOptions.Services provide no %s", wanted)
		}
	}
	if isProgress(t) {
		m.reports, m.kinds = append(m.reports, t), append(m.kinds, report)
		return nil
	}
	if item := itemType(t); item != nil {
		if err := bindable(item); err != nil {
			return fmt.Errorf("its items: %w", err)
		}
		m.uploads = append(m.uploads, uploadParam{param: t, item: item})
		m.kinds = append(m.kinds, upload)
		return nil
	}
	m.params = append(m.params, t)
	m.kinds = append(m.kinds, argument)
	if rest {
		if t = t.Elem(); t.Size() > maxRestSize { // clients would have a lot of memory filled by a few bytes for each
			return fmt.Errorf("a %s has %d bytes, more than %d, which is too much for remaining arguments: use *%s", t, t.Size(), maxRestSize, t)
		}
	}
	return bindable(t)
}

const maxRestSize = 256

// canBeService reports whether parameters of a type can be services without saying so. Those of predeclared types, and of slices and maps of
// anything, are what clients send.
func canBeService(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Func:
		return t != contextType && itemType(t) == nil
	}
	return t.PkgPath() != ""
}

// bindable refuses types that the arguments of clients cannot be bound to.
func bindable(t reflect.Type) error {
	switch t {
	case contextType:
		return errors.New("a context.Context can only be the first parameter")
	case reflect.TypeFor[*Call]():
		return errors.New("the call is no parameter: Hub.Call gives it")
	}
	if holdsService(t, map[reflect.Type]bool{}) {
		return errors.New("a From is a parameter of its own, and no part of another one")
	}
	return hubproto.CheckBindable(t)
}
