package hubsys

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/troupe-go/troupe/actors"
)

// Services provides hub methods with the parameters that clients do not send. [Fields] makes one of a struct; a container of the application
// fits behind it in a few lines.
type Services interface {
	// Provider returns how values of a type are made, or nil if clients send them. Register asks for the type of each parameter. What is returned
	// is called for each call, with its context; an error fails the call as if the method had returned it. [Call.Cleanup] releases what
	// was made.
	Provider(t reflect.Type) func(ctx context.Context) (any, error)
}

// provider asks services, which may be nil.
func provider(services Services, t reflect.Type) func(context.Context) (any, error) {
	if services == nil {
		return nil
	}
	return services.Provider(t)
}

// From is a parameter that is a service in any case: if nobody provides T, Register fails, instead of having clients fill it.
type From[T any] struct{ Value T }

func (From[T]) service() reflect.Type { return reflect.TypeFor[T]() }

// serviceType returns T if t is a From[T], and nil otherwise.
func serviceType(t reflect.Type) reflect.Type {
	if t.Kind() != reflect.Struct || t.PkgPath() != hubType.PkgPath() {
		return nil // a type that embeds a From is none
	}
	if from, ok := reflect.Zero(t).Interface().(interface{ service() reflect.Type }); ok {
		return from.service()
	}
	return nil
}

// holdsService reports whether a type contains a From somewhere, which clients would fill.
func holdsService(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return holdsService(t.Elem(), seen)
	case reflect.Struct:
		if serviceType(t) != nil {
			return true
		}
		for i := range t.NumField() {
			if holdsService(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// Fields makes [Services] of the exported fields of a struct, or of a pointer to one. A field of type T provides parameters of type T with its
// value, the same for all calls; a field of type func(context.Context) (T, error) makes one for each call. Register reports a field that is
// nil, and two for one type.
func Fields(of any) Services {
	f := &fields{byType: map[reflect.Type]func(context.Context) (any, error){}}
	v := reflect.Indirect(reflect.ValueOf(of))
	if v.Kind() != reflect.Struct {
		f.fault = fmt.Errorf("Fields takes a struct, not %T", of)
		return f
	}
	f.add(v)
	return f
}

type fields struct {
	byType map[reflect.Type]func(context.Context) (any, error)
	fault  error
}

func (f *fields) add(of reflect.Value) {
	for i := range of.NumField() {
		field, v := of.Type().Field(i), of.Field(i)
		if !field.IsExported() {
			continue
		}
		t, provider := field.Type, func(context.Context) (any, error) { return v.Interface(), nil }
		if made := madeBy(t); made != nil {
			t, provider = made, func(ctx context.Context) (any, error) {
				results := v.Call([]reflect.Value{reflect.ValueOf(ctx)})
				err, _ := results[1].Interface().(error)
				return results[0].Interface(), err
			}
		}
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Func, reflect.Map, reflect.Chan:
			if v.IsNil() {
				f.fault = errors.Join(f.fault, fmt.Errorf("field %s of %s is nil", field.Name, of.Type()))
			}
		}
		if f.byType[t] != nil {
			f.fault = errors.Join(f.fault, fmt.Errorf("field %s of %s is the second one for %s", field.Name, of.Type(), t))
		}
		f.byType[t] = provider
	}
}

// Provider is part of Services.
func (f *fields) Provider(t reflect.Type) func(context.Context) (any, error) { return f.byType[t] }

// madeBy returns T if t is a func(context.Context) (T, error), and nil otherwise.
func madeBy(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Func && t.NumIn() == 1 && t.In(0) == contextType && t.NumOut() == 2 && t.Out(1) == errorType && !t.IsVariadic() {
		return t.Out(0)
	}
	return nil
}

// makeServices sets the parameters of a call that are services.
func (h *hub) makeServices(k *actors.Call, m *method, f *callArgs) error {
	for i, p := range f.services {
		made, err := m.services[i].provide(k)
		if err != nil {
			return err
		}
		if m.services[i].wrapped {
			p = p.Field(0)
		}
		v := reflect.ValueOf(made)
		if !v.IsValid() || !v.Type().AssignableTo(p.Type()) {
			return fmt.Errorf("hubsys: the provider of %s has returned a %T", p.Type(), made)
		}
		p.Set(v)
	}
	return nil
}
