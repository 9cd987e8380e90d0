package hubsys

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
)

// methodFinder finds the methods of a hub, and collects everything that is wrong with them.
type methodFinder struct {
	hub      reflect.Type
	direct   func(fn any) directCall
	services Services
	implicit bool              // types alone make a parameter a service
	options  map[string]Method // by the name in Go
	declared map[string]string // by the name that clients use, in lower case: the name in Go
	found    *methods
	faults   []error
}

// findMethods finds what clients can call of H, and reports everything that is wrong.
func findMethods[H Instance](options *HubOptions) (*methods, error) {
	t := reflect.TypeFor[H]()
	f := &methodFinder{
		hub: t, direct: direct[H], services: options.Services, implicit: !options.NoImplicitServices, options: map[string]Method{}, declared: map[string]string{},
		found: &methods{exact: map[string]*method{}, folded: map[string]*method{}},
	}
	for i, o := range options.Methods {
		f.addOption(i, o)
	}
	for i := range t.NumMethod() {
		if rm := t.Method(i); !isFromHub(rm) {
			f.add(rm)
		}
	}
	if len(f.faults) > 0 {
		return nil, fmt.Errorf("hubsys: hub %s: %w", t, errors.Join(f.faults...))
	}
	return f.found, nil
}

func (f *methodFinder) fault(format string, args ...any) {
	f.faults = append(f.faults, fmt.Errorf(format, args...))
}

// addOption finds the method of an element of HubOptions.Methods by its code.
func (f *methodFinder) addOption(i int, o Method) {
	fn := reflect.ValueOf(o.Func)
	if fn.Kind() != reflect.Func || fn.IsNil() {
		f.fault("Methods[%d].Func is %T: it is a method of the hub, such as (*%s).Send", i, o.Func, f.hub.Elem().Name())
		return
	}
	for j := range f.hub.NumMethod() {
		rm := f.hub.Method(j)
		if rm.Func.Pointer() != fn.Pointer() {
			continue
		}
		switch _, ok := f.options[rm.Name]; {
		case ok:
			f.fault("Methods[%d]: there is an element for method %s already", i, rm.Name)
		case o.Hidden && (o.Name != "" || o.Policy != nil):
			f.fault("Methods[%d]: method %s has a name or a policy for clients, and is hidden from them", i, rm.Name)
		}
		f.options[rm.Name] = o
		return
	}
	name := runtime.FuncForPC(fn.Pointer()).Name()
	method := strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "-fm")
	f.fault("Methods[%d].Func is %s, which is no method of %s as an expression: write (*%s).%s", i, name, f.hub, f.hub.Elem().Name(), method)
}

// add adds a method for clients, unless it has another purpose.
func (f *methodFinder) add(rm reflect.Method) {
	option, mentioned := f.options[rm.Name]
	if option.Hidden { // from clients: the server calls it
		f.found.closes = f.found.closes || rm.Name == "Close" && f.hub.Implements(closerType) && promotedFrom(f.hub, rm.Name) == nil
		return
	}
	if f.isLifetime(rm) {
		return
	}
	if !mentioned {
		if why := suspicious(rm); why != "" {
			f.fault("method %s: it would be a method for clients: %s; HubOptions.Methods publishes or hides it", rm.Name, why)
			return
		}
	}
	if from := promotedFrom(f.hub, rm.Name); from != nil {
		f.fault("method %s: it comes from the embedded %s, which is no hub: declare it on the hub, or hide it with HubOptions.Methods", rm.Name, from)
		return
	}
	m, err := newMethod(rm, f.direct, f.services, f.implicit)
	if err != nil {
		f.fault("method %s: %w", rm.Name, err)
		return
	}
	m.name, m.hasOwnName, m.policy = cmp.Or(option.Name, rm.Name), option.Name != "", option.Policy
	key := foldName(m.name)
	if first := f.found.folded[key]; first != nil && (m.hasOwnName || first.hasOwnName) && first.overload(m) {
		return
	}
	if other, ok := f.declared[key]; ok {
		f.fault("method %s: clients cannot tell it from %s: both are called %q", rm.Name, other, m.name)
		return
	}
	f.declared[key] = rm.Name
	f.found.exact[m.name], f.found.folded[key] = m, m
}

// isLifetime reports whether a method is one that the server calls, and checks its signature.
func (f *methodFinder) isLifetime(rm reflect.Method) bool {
	switch rm.Name {
	case "OnConnected":
		if !f.hub.Implements(reflect.TypeFor[onConnected]()) {
			f.fault("method %s: its signature is not OnConnected(context.Context) error", rm.Name)
		}
	case "OnDisconnected":
		if !f.hub.Implements(reflect.TypeFor[onDisconnected]()) {
			f.fault("method %s: its signature is not OnDisconnected(context.Context, error) error", rm.Name)
		}
	case "OnReconnected":
		if !f.hub.Implements(reflect.TypeFor[onReconnected]()) {
			f.fault("method %s: its signature is not OnReconnected(context.Context) error", rm.Name)
		}
	case "OnAuthenticationRefreshed":
		if !f.hub.Implements(reflect.TypeFor[onRefreshed]()) {
			f.fault("method %s: its signature is not OnAuthenticationRefreshed(context.Context) error", rm.Name)
		}
	case "Close":
		if promotedFrom(f.hub, rm.Name) != nil {
			return false
		}
		if f.found.closes = f.hub.Implements(closerType); !f.found.closes {
			f.fault("method %s: its signature is not Close() error", rm.Name)
		}
	default:
		return false
	}
	return true
}

// suspicious says why a method is hardly meant for clients. It returns an empty string if it is.
func suspicious(rm reflect.Method) string {
	for lifetime, others := range map[string][]string{
		"OnConnected":    {"OnConnected", "OnConnect", "OnConnectedAsync"},
		"OnDisconnected": {"OnDisconnected", "OnDisconnect", "OnDisconnectedAsync"},
		"OnReconnected":  {"OnReconnected", "OnReconnect", "OnReconnectedAsync"},

		"OnAuthenticationRefreshed": {"OnAuthenticationRefreshed", "OnAuthenticationRefresh", "OnAuthenticationRefreshedAsync"},
	} {
		if slices.ContainsFunc(others, func(name string) bool { return strings.EqualFold(name, rm.Name) }) {
			return "the lifetime method is called " + lifetime
		}
	}
	text := rm.Type.NumIn() == 1 && rm.Type.NumOut() == 1 && rm.Type.Out(0).Kind() == reflect.String
	encodes := strings.HasPrefix(rm.Name, "Marshal") || strings.HasPrefix(rm.Name, "Unmarshal")
	if text && slices.Contains([]string{"String", "GoString", "Error"}, rm.Name) || encodes && slices.Contains(encoders, rm.Name) {
		return "Go calls a method of this name by itself"
	}
	return ""
}

// encoders are methods that encoding packages look for.
var encoders = []string{
	"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "MarshalBinary", "UnmarshalBinary", "MarshalXML", "UnmarshalXML", "MarshalMsg", "UnmarshalMsg",
}

// isFromHub reports whether a method is one of Hub itself.
func isFromHub(m reflect.Method) bool {
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

// promotedFrom returns the embedded type that a method comes from, or nil if it is declared on the hub or on a hub that it embeds.
func promotedFrom(t reflect.Type, name string) reflect.Type {
	_, from := declaringType(t, name)
	return from
}

// declaringType finds how deep in a type a method is declared, and the type outside of hubs that it comes from, if that is so. Of several
// embedded types, the one where it is least deep counts.
func declaringType(t reflect.Type, name string) (depth int, from reflect.Type) {
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
		if d, inner := declaringType(p, name); d+1 < depth {
			depth, from = d+1, inner
			if !isHub(p) {
				from = f.Type
			}
		}
	}
	return depth, from
}

// isHub reports whether p, a pointer to a struct, embeds Hub.
func isHub(p reflect.Type) bool {
	return p.Kind() == reflect.Pointer && p.Implements(reflect.TypeFor[Instance]())
}

// isDeclared reports whether a method is declared for a type in a file. The compiler makes the others.
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
