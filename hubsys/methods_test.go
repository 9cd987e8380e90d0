package hubsys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// registrationFaults registers a hub, and returns the lines of the error without the name of the type.
func registrationFaults[H any, P interface {
	*H
	hubsys.Instance
}](t *testing.T, options ...hubsys.Method) []string {
	t.Helper()
	_, err := hubsys.Register(newSystem(t, hubsys.Config{}), func(context.Context) (P, error) { return new(H), nil }, hubsys.HubOptions{Methods: options, Name: "hub"})
	if err == nil {
		return nil
	}
	const head = "hubsys: hub *hubsys_test."
	require.True(t, strings.HasPrefix(err.Error(), head), err)
	_, faults, _ := strings.Cut(err.Error()[len(head):], ": ")
	return strings.Split(faults, "\n")
}

type namedString string

type point struct{ X, Y int }

// callableHub has a method of each signature that is accepted.
type callableHub struct{ hubsys.Hub }

func (*callableHub) Nothing()                                          {}
func (*callableHub) Error() error                                      { return nil }
func (*callableHub) Value() int                                        { return 1 }
func (*callableHub) Both() (string, error)                             { return "both", nil }
func (*callableHub) Context(context.Context)                           {}
func (*callableHub) ContextError(context.Context) error                { return nil }
func (*callableHub) ContextValue(_ context.Context, a int) int         { return a }
func (*callableHub) ContextBoth(_ context.Context, a int) (int, error) { return a, nil }
func (*callableHub) Many(a int8, b uint, c float32, d bool, e string, f []byte, g map[string]int, h *point, i point) []any {
	return []any{a, b, c, d, e, f, g, h, i}
}
func (*callableHub) Any(a any) any                               { return a }
func (*callableHub) Raw(a json.RawMessage) json.RawMessage       { return a }
func (*callableHub) Array(a [2]int) [2]int                       { return a }
func (*callableHub) Named(a namedString) namedString             { return a }
func (*callableHub) Slices(a []*point, b [][]string) []any       { return []any{a, b} }
func (*callableHub) Pointer(a *int) *int                         { return a }
func (*callableHub) ErrorInterface() (error, error)              { return nil, nil } // hidden here, because it is refused
func (callableHub) ByValue() string                              { return "by value" }
func (w *callableHub) unexported() string                        { return "never" }
func (*callableHub) Interface() (interface{ M() }, error)        { return nil, nil }
func (*callableHub) Struct() (struct{ A int }, error)            { return struct{ A int }{1}, nil }
func (*callableHub) LongName_withUnderscore() string             { return "underscore" } // a valid Go name
func (*callableHub) Größe() string                               { return "Größe" }
func (*callableHub) OnConnected(context.Context) error           { return nil }
func (*callableHub) OnDisconnected(context.Context, error) error { return nil }
func (*callableHub) Close() error                                { return nil }

func TestEverySignatureThatCanBeCalled(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*callableHub, error) { return &callableHub{}, nil },
		hubsys.HubOptions{Methods: hidden((*callableHub).ErrorInterface)})
	(&callableHub{}).unexported()
	c := dial(t, serve(t, sys, hub))
	for _, test := range []struct {
		method string
		args   []any
		result string
	}{
		{"Nothing", nil, "null"},
		{"Error", nil, "null"},
		{"Value", nil, "1"},
		{"Both", nil, `"both"`},
		{"Context", nil, "null"},
		{"ContextError", nil, "null"},
		{"ContextValue", []any{2}, "2"},
		{"ContextBoth", []any{3}, "3"},
		{"Many", []any{1, 2, 0.5, true, "e", "YQ==", map[string]int{"a": 1}, point{1, 2}, point{3, 4}}, `[1,2,0.5,true,"e","YQ==",{"a":1},{"x":1,"y":2},{"x":3,"y":4}]`},
		{"Any", []any{map[string]any{"A": []int{1}}}, `{"A":[1]}`},
		{"Raw", []any{[]any{1, "two"}}, `[1,"two"]`},
		{"Array", []any{[]int{1, 2}}, "[1,2]"},
		{"Named", []any{"name"}, `"name"`},
		{"Slices", []any{[]any{point{1, 2}, nil}, [][]string{{"a"}, nil}}, `[[{"x":1,"y":2},null],[["a"],null]]`},
		{"Pointer", []any{nil}, "null"},
		{"Pointer", []any{5}, "5"},
		{"ByValue", nil, `"by value"`},
		{"Interface", nil, "null"},
		{"Struct", nil, `{"a":1}`},
		{"LongName_withUnderscore", nil, `"underscore"`},
		{"Größe", nil, `"Größe"`},
		{"gRÖSSE", nil, ""},
		{"gRÖßE", nil, `"Größe"`},
		// These cannot be called.
		{"unexported", nil, ""},
		{"ErrorInterface", nil, ""},
		{"OnConnected", nil, ""},
		{"OnDisconnected", []any{nil}, ""},
		{"Close", nil, ""},
		{"Call", nil, ""},
		{"Clients", nil, ""},
		{"Groups", nil, ""},
		{"attach", []any{nil}, ""},
		{"", nil, ""},
	} {
		r := c.invoke(test.method, test.args...)
		if test.result != "" {
			require.Equal(t, test.result, string(r.Result), "%s: %s", test.method, r.raw)
			continue
		}
		require.NotNil(t, r.Error, test.method)
		require.Equal(t, "Failed to invoke '"+test.method+"' due to an error on the server. HubException: Method does not exist.", *r.Error)
	}
}

// hidden hides methods from clients.
func hidden(methods ...any) (hidden []hubsys.Method) {
	for _, one := range methods {
		hidden = append(hidden, hubsys.Method{Func: one, Hidden: true})
	}
	return hidden
}

type refusedHub struct{ hubsys.Hub }

func (*refusedHub) Variadic(...chan int)                         {}
func (*refusedHub) ChanParam(chan int)                           {}
func (*refusedHub) FuncParam(_ int, _ func())                    {}
func (*refusedHub) ComplexParam(complex128)                      {}
func (*refusedHub) ChanResult() chan int                         { return nil }
func (*refusedHub) FuncResult() (func(), error)                  { return nil, nil }
func (*refusedHub) TwoValues() (int, string)                     { return 0, "" }
func (*refusedHub) ThreeResults() (int, string, error)           { return 0, "", nil }
func (*refusedHub) ErrorFirst() (error, int)                     { return nil, 0 }   // to be refused
func (*refusedHub) TwoErrors() (error, error)                    { return nil, nil } // to be refused
func (*refusedHub) ContextLast(int, context.Context)             {}                  // to be refused
func (*refusedHub) TwoContexts(context.Context, context.Context) {}
func (*refusedHub) Fine() int                                    { return 1 }
func (*refusedHub) OnConnected() error                           { return nil }
func (*refusedHub) OnDisconnected(context.Context) error         { return nil }

func TestEveryRefusalHasItsReasonAndAllAreReported(t *testing.T) {
	require.Equal(t, []string{
		`method ChanParam: parameter 1: chan int has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]`,
		`method ChanResult: its result: chan int has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]`,
		`method ComplexParam: parameter 1: complex128 has no encoding`,
		`method ContextLast: parameter 2: a context.Context can only be the first parameter`,
		`method ErrorFirst: it returns more than a value and an error`,
		`method FuncParam: parameter 2: func() has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]`,
		`method FuncResult: its result: func() has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]`,
		`method OnConnected: its signature is not OnConnected(context.Context) error`,
		`method OnDisconnected: its signature is not OnDisconnected(context.Context, error) error`,
		`method ThreeResults: it returns more than a value and an error`,
		`method TwoContexts: parameter 1: a context.Context can only be the first parameter`,
		`method TwoErrors: it returns an error in front of its last result`,
		`method TwoValues: it returns more than a value and an error`,
		`method Variadic: parameter 1: chan int has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]`,
	}, registrationFaults[refusedHub](t))
}

func TestInvalidElementsOfMethodsAreRefused(t *testing.T) {
	one := &base{}
	require.Equal(t, []string{
		`Methods[0].Func is <nil>: it is a method of the hub, such as (*base).Send`,
		`Methods[1].Func is string: it is a method of the hub, such as (*base).Send`,
		`Methods[2].Func is func(): it is a method of the hub, such as (*base).Send`,
		`Methods[3].Func is github.com/troupe-go/troupe/hubsys_test.(*middle).Middle, which is no method of *hubsys_test.base as an expression: write (*base).Middle`,
		`Methods[4].Func is github.com/troupe-go/troupe/hubsys_test.(*base).Inherited-fm, which is no method of *hubsys_test.base as an expression: write (*base).Inherited`,
		`Methods[5].Func is github.com/troupe-go/troupe/hubsys_test.base.ByValue, which is no method of *hubsys_test.base as an expression: write (*base).ByValue`,
		`Methods[7]: there is an element for method Inherited already`,
		`Methods[8]: method Overridden has a name or a policy for clients, and is hidden from them`,
	}, registrationFaults[base](t,
		hubsys.Method{}, hubsys.Method{Func: "Inherited"}, hubsys.Method{Func: (func())(nil)}, hubsys.Method{Func: (*middle).Middle}, hubsys.Method{Func: one.Inherited}, hubsys.Method{Func: base.ByValue},
		hubsys.Method{Func: (*base).Inherited, Name: "x"}, hubsys.Method{Func: (*base).Inherited, Name: "y"},
		hubsys.Method{Func: (*base).Overridden, Name: "z", Hidden: true}))
}

// wellKnownMethodsHub has methods that the standard library calls, and lifetime methods with the names that other frameworks use.
type wellKnownMethodsHub struct{ hubsys.Hub }

func (*wellKnownMethodsHub) String() string               { return "" }
func (*wellKnownMethodsHub) GoString() string             { return "" }
func (*wellKnownMethodsHub) Error() string                { return "" }
func (*wellKnownMethodsHub) MarshalJSON() ([]byte, error) { return nil, nil }
func (*wellKnownMethodsHub) MarshalDocument() string      { return "" }
func (*wellKnownMethodsHub) OnConnect() error             { return nil }
func (*wellKnownMethodsHub) OnDisconnectedAsync() error   { return nil }
func (*wellKnownMethodsHub) OnReconnect() error           { return nil }

func TestMethodsOfWellKnownNamesAreRefused(t *testing.T) {
	const goCalls, hint = "Go calls a method of this name by itself", "; HubOptions.Methods publishes or hides it"
	fault := func(method, why string) string {
		return "method " + method + ": it would be a method for clients: " + why + hint
	}
	require.Equal(t, []string{
		fault("Error", goCalls), fault("GoString", goCalls), fault("MarshalJSON", goCalls),
		fault("OnConnect", "the lifetime method is called OnConnected"), fault("OnDisconnectedAsync", "the lifetime method is called OnDisconnected"),
		fault("OnReconnect", "the lifetime method is called OnReconnected"), fault("String", goCalls),
	}, registrationFaults[wellKnownMethodsHub](t))
	require.Empty(t, registrationFaults[wellKnownMethodsHub](t, hubsys.Method{Func: (*wellKnownMethodsHub).String}, hubsys.Method{Func: (*wellKnownMethodsHub).GoString, Hidden: true}, hubsys.Method{Func: (*wellKnownMethodsHub).Error, Name: "problem"},
		hubsys.Method{Func: (*wellKnownMethodsHub).MarshalJSON}, hubsys.Method{Func: (*wellKnownMethodsHub).OnConnect}, hubsys.Method{Func: (*wellKnownMethodsHub).OnDisconnectedAsync},
		hubsys.Method{Func: (*wellKnownMethodsHub).OnReconnect}))
}

func TestSignaturesOfHiddenMethodsAreNotChecked(t *testing.T) {
	require.Empty(t, registrationFaults[refusedHub](t, hidden(
		(*refusedHub).Variadic, (*refusedHub).ChanParam, (*refusedHub).FuncParam, (*refusedHub).ComplexParam, (*refusedHub).ChanResult, (*refusedHub).FuncResult, (*refusedHub).TwoValues,
		(*refusedHub).ThreeResults, (*refusedHub).ErrorFirst, (*refusedHub).TwoErrors, (*refusedHub).ContextLast, (*refusedHub).TwoContexts, (*refusedHub).OnConnected, (*refusedHub).OnDisconnected,
	)...))
}

// A Close without a result is not an io.Closer: the System would not call it, and clients could.
type closeWithoutErrorHub struct{ hubsys.Hub }

func (*closeWithoutErrorHub) Close() {}

func TestCloseWithAWrongSignatureIsRefused(t *testing.T) {
	faults := registrationFaults[closeWithoutErrorHub](t)
	require.Len(t, faults, 1)
	require.Contains(t, faults[0], "method Close: ")
	require.Empty(t, registrationFaults[closeWithoutErrorHub](t, hidden((*closeWithoutErrorHub).Close)...))
}

type duplicateNamesHub struct{ hubsys.Hub }

func (*duplicateNamesHub) Send()  {}
func (*duplicateNamesHub) SEND()  {}
func (*duplicateNamesHub) Other() {}

func TestNamesThatClientsCannotTellApart(t *testing.T) {
	require.Equal(t, []string{`method Send: clients cannot tell it from SEND: both are called "Send"`},
		registrationFaults[duplicateNamesHub](t))
	require.Equal(t, []string{`method Send: clients cannot tell it from Other: both are called "Send"`},
		registrationFaults[duplicateNamesHub](t, hubsys.Method{Func: (*duplicateNamesHub).Other, Name: "sEND"}, hubsys.Method{Func: (*duplicateNamesHub).SEND, Name: "shout"}), "renamed to a name that is taken")
	require.Empty(t, registrationFaults[duplicateNamesHub](t, hubsys.Method{Func: (*duplicateNamesHub).SEND, Name: "shout"}))
	require.Empty(t, registrationFaults[duplicateNamesHub](t, hidden((*duplicateNamesHub).SEND)...))
}

func TestRenaming(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*renamed, error) { return &renamed{}, nil }, hubsys.HubOptions{Methods: []hubsys.Method{
		{Func: (*renamed).First, Name: "Second"}, {Func: (*renamed).Second, Name: "First"}, {Func: (*renamed).Third, Name: "with space"}, {Func: (*renamed).Hidden, Hidden: true}, {Func: (*renamed).Same},
	}})
	c := dial(t, serve(t, sys, hub))
	for name, want := range map[string]string{"First": "2", "SECOND": "1", "With Space": "3", "Same": "5"} {
		require.Equal(t, want, string(c.invoke(name).Result), name)
	}
	for _, name := range []string{"Third", "Hidden", "-"} {
		require.Contains(t, c.invokeError(name), "Method does not exist.")
	}
}

type renamed struct{ hubsys.Hub }

func (*renamed) First() int  { return 1 }
func (*renamed) Second() int { return 2 }
func (*renamed) Third() int  { return 3 }
func (*renamed) Hidden() int { return 4 }
func (*renamed) Same() int   { return 5 }

type base struct{ hubsys.Hub }

func (*base) Inherited() string  { return "base" }
func (*base) Overridden() string { return "base" }
func (base) ByValue() string     { return "base" }

type middle struct{ base }

func (*middle) Middle() string { return "middle" }

type derived struct {
	middle
}

func (*derived) Overridden() string { return "derived" }
func (*derived) Own() string        { return "derived" }

func TestMethodsOfEmbeddedHubsAreInherited(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*derived, error) { return &derived{}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	for name, want := range map[string]string{"Inherited": "base", "Overridden": "derived", "ByValue": "base", "Middle": "middle", "Own": "derived"} {
		require.Equal(t, `"`+want+`"`, string(c.invoke(name).Result), name)
	}
}

type derivedByPointer struct{ *base }

func TestMethodsOfAHubEmbeddedByPointerAreInherited(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*derivedByPointer, error) { return &derivedByPointer{&base{}}, nil },
		hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	require.Equal(t, `"base"`, string(c.invoke("Inherited").Result))
}

// service is embedded in hubs. Its methods are so small that the compiler inlines them into the wrappers that promote them.
type service struct{ n int }

func (s *service) Number() int { return s.n }
func (s *service) Nothing()    {}
func (s service) Copy() int    { return s.n }

type deeper struct{ service }

type (
	withMutex struct {
		hubsys.Hub
		sync.Mutex
	}
	withService struct {
		hubsys.Hub
		service
	}
	withPointer struct {
		hubsys.Hub
		*service
	}
	withDeeper struct {
		hubsys.Hub
		deeper
	}
	withInterface struct {
		hubsys.Hub
		io.StringWriter
	}
	withBuffer struct {
		hubsys.Hub
		*bytes.Buffer
	}
	withServiceBelow struct{ withService }
)

func embeddedMethodFault(method, embedded string) string {
	return "method " + method + ": it comes from the embedded " + embedded + `, which is no hub: declare it on the hub, or hide it with HubOptions.Methods`
}

func TestMethodsOfOtherEmbeddedTypesAreNotPublished(t *testing.T) {
	all := func(embedded string, methods ...string) (faults []string) {
		for _, method := range methods {
			faults = append(faults, embeddedMethodFault(method, embedded))
		}
		return faults
	}
	require.Equal(t, all("sync.Mutex", "Lock", "TryLock", "Unlock"), registrationFaults[withMutex](t))
	require.Equal(t, all("hubsys_test.service", "Copy", "Nothing", "Number"), registrationFaults[withService](t))
	require.Equal(t, all("*hubsys_test.service", "Copy", "Nothing", "Number"), registrationFaults[withPointer](t))
	require.Equal(t, all("hubsys_test.deeper", "Copy", "Nothing", "Number"), registrationFaults[withDeeper](t))
	require.Equal(t, all("io.StringWriter", "WriteString"), registrationFaults[withInterface](t))
	require.Equal(t, all("hubsys_test.service", "Copy", "Nothing", "Number"), registrationFaults[withServiceBelow](t))
	require.Contains(t, registrationFaults[withBuffer](t), embeddedMethodFault("ReadByte", "*bytes.Buffer"))
	require.Empty(t, registrationFaults[withMutex](t, hidden((*withMutex).Lock, (*withMutex).TryLock, (*withMutex).Unlock)...))
}

// If two embedded types have a method of the same name, the one at the shallower depth is promoted.
type (
	deepHub struct{ base }
	shallow struct{}
	twoDeep struct {
		deepHub
		shallow
	}
	deepNone   struct{ service }
	shallowHub struct{ hubsys.Hub }
	hubWins    struct {
		deepNone
		shallowHub
	}
)

func (shallow) Inherited() string { return "shallow" }
func (*shallowHub) Number() int   { return 7 }

func TestWhichOfTwoEmbeddedTypesAMethodComesFrom(t *testing.T) {
	assert.Equal(t, []string{embeddedMethodFault("Inherited", "hubsys_test.shallow")},
		registrationFaults[twoDeep](t), "promoted is shallow's")
	assert.Equal(t, []string{embeddedMethodFault("Copy", "hubsys_test.deepNone"), embeddedMethodFault("Nothing", "hubsys_test.deepNone")},
		registrationFaults[hubWins](t), "Number is the hub's")
}

// generic is a hub with a type parameter, so that the compiler generates all its methods.
type generic[T any] struct {
	hubsys.Hub
	service
}

func (*generic[T]) Zero() (zero T) { return zero }
func (*generic[T]) Number() string { return "overridden" }

func TestAHubCanBeGeneric(t *testing.T) {
	require.Equal(t, []string{embeddedMethodFault("Copy", "hubsys_test.service"), embeddedMethodFault("Nothing", "hubsys_test.service")},
		registrationFaults[generic[int]](t))
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*generic[int], error) { return &generic[int]{}, nil },
		hubsys.HubOptions{Methods: hidden((*generic[int]).Copy, (*generic[int]).Nothing)})
	c := dial(t, serve(t, sys, hub))
	require.Equal(t, "0", string(c.invoke("Zero").Result))
	require.Equal(t, `"overridden"`, string(c.invoke("Number").Result))
}

// embeddedCloserHub embeds an io.Closer, which must not be closed after each call.
type embeddedCloserHub struct {
	hubsys.Hub
	io.Closer
}

func TestCloseOfAnEmbeddedTypeIsNotTheHubsClose(t *testing.T) {
	require.Equal(t, []string{embeddedMethodFault("Close", "io.Closer")}, registrationFaults[embeddedCloserHub](t))
}

type echoBase struct{ hubsys.Hub }

func (*echoBase) Echo(v any) any { return v }

// pointerHub needs a constructor, which sets the pointer.
type pointerHub struct{ *echoBase }

func TestRegisterRefusesInvalidHubs(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	_, err := hubsys.Register(sys, func(context.Context) (hubsys.Instance, error) { return nil, errors.New("no") }, hubsys.HubOptions{})
	require.EqualError(t, err, "hubsys: hubsys.Instance is no hub: a hub is a pointer to a struct that embeds hubsys.Hub")
	_, err = hubsys.Register(sys, func(context.Context) (*base, error) { return nil, nil }, hubsys.HubOptions{OutboxLimit: 1})
	require.ErrorContains(t, err, "OutboxLimit")
	create := func(context.Context) (*struct{ hubsys.Hub }, error) { return nil, nil }
	_, err = hubsys.Register(sys, create, hubsys.HubOptions{})
	require.ErrorContains(t, err, "has no name, and HubOptions.Name is empty")
	register(t, sys, create, hubsys.HubOptions{Name: "anonymous"})
	_, err = hubsys.Register[*pointerHub](sys, nil, hubsys.HubOptions{})
	require.EqualError(t, err, "hubsys: *hubsys_test.pointerHub has its hubsys.Hub behind an embedded pointer, which is nil in a zero value: it needs a constructor")
	register(t, sys, func(context.Context) (*pointerHub, error) { return &pointerHub{&echoBase{}}, nil }, hubsys.HubOptions{})
	register(t, sys, func(context.Context) (*base, error) { return nil, nil }, hubsys.HubOptions{})
	_, err = hubsys.Register(sys, func(context.Context) (*base, error) { return nil, nil }, hubsys.HubOptions{})
	require.EqualError(t, err, `hubsys: there is a hub named "base" already; HubOptions.Name gives this one another name`)
	register(t, sys, func(context.Context) (*base, error) { return nil, nil }, hubsys.HubOptions{Name: "other"})
}
