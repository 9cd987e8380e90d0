package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// What is passed on may be null.
var (
	messageText  = typed.Message1[*string]("Message")
	number       = typed.Message1[int32]("Number")
	customObject = typed.Message1[*CustomObject]("CustomObject")
)

// TestHub has a method for each thing that a hub can do.
type TestHub struct{ hubsys.Hub }

// testHubMethods are the methods that have other names for clients, or are not for all of them.
var testHubMethods = []hubsys.Method{
	{Func: (*TestHub).Original, Name: "renamed"}, {Func: (*TestHub).ID, Name: "Id"}, {Func: (*TestHub).UserID, Name: "UserId"},
	{Func: (*TestHub).AdminOnly, Policy: hubsys.RequireRole("admin")},
}

// Clock stands for a service that methods take as a parameter.
type Clock struct{ Name string }

// services are those of all hubs.
var services = hubsys.Fields(struct{ Clock *Clock }{&Clock{"clock"}})

func newTestHub(context.Context) (*TestHub, error) { return &TestHub{}, nil }

// events remembers how connections have ended.
var events sync.Map

func (h *TestHub) OnConnected(context.Context) error {
	if orEmpty(joined(h.Call().Request().QueryValues(), "fail")) == "1" {
		return errors.New("refused")
	}
	return nil
}

func (h *TestHub) OnDisconnected(_ context.Context, cause error) error {
	fate := "closed"
	if cause != nil {
		fate = "error: " + cause.Error()
	}
	events.Store(h.Call().ConnectionID(), fate)
	return nil
}

func (h *TestHub) Echo(message *string) *string                      { return message }
func (h *TestHub) ThrowException(message *string) error              { return failure(message) }
func (h *TestHub) Panic(message string)                              { panic(message) }
func (h *TestHub) Add(a, b int32) int32                              { return a + b }
func (h *TestHub) Nothing()                                          {}
func (h *TestHub) Null() *string                                     { return nil }
func (h *TestHub) Service(clock *Clock) string                       { return clock.Name }
func (h *TestHub) AdminOnly() string                                 { return "ok" }
func (h *TestHub) Original() string                                  { return "renamed" }
func (h *TestHub) ID() string                                        { return h.Call().ConnectionID() }
func (h *TestHub) UserID() *string                                   { return userID(h.Call()) }
func (h *TestHub) Abort()                                            { h.Call().Abort() }
func (h *TestHub) EchoComplexObject(o *Complex) *Complex             { return o }
func (h *TestHub) GetActiveTransportName() string                    { return h.Call().Request().Transport().String() }
func (h *TestHub) Slow(ctx context.Context, ms int32) (int32, error) { return ms, delay(ctx, ms) }

func (h *TestHub) ThrowHubException(message *string) error {
	if message == nil {
		message = new("Exception of type 'Microsoft.AspNetCore.SignalR.HubException' was thrown.")
	}
	return &hubsys.HubError{Message: *message}
}

// failure is an error with a text, or with the reference's where that is null.
func failure(message *string) error {
	if message == nil {
		message = new("Operation is not valid due to the current state of the object.")
	}
	return errors.New(*message)
}

// userID is null for who has no token.
func userID(call *hubsys.Call) *string {
	if !call.Principal().Authenticated() {
		return nil
	}
	return new(call.UserID())
}

// delay waits. That the client has gone does not end it.
func delay(ctx context.Context, ms int32) error {
	switch {
	case ms < -1:
		return errors.New("The value needs to be either -1 (signifying an infinite timeout), 0 or a positive integer. (Parameter 'millisecondsDelay')") //nolint:staticcheck // the reference's words
	case ms == -1:
		<-ctx.Done()
	default:
		time.Sleep(time.Duration(ms) * time.Millisecond)
	}
	return nil
}

func (h *TestHub) GetContentTypeHeader() *string {
	values := h.Call().Request().HeaderValues("Content-Type")
	if values == nil {
		return nil
	}
	return new(strings.Join(values, ","))
}

func (h *TestHub) Query(key *string) (value *string, err error) {
	err = given("key", key, func(key string) error {
		value = joined(h.Call().Request().QueryValues(), key)
		return nil
	})
	return value, err
}

func (h *TestHub) GetCookie(name *string) (value *string, err error) {
	err = given("key", name, func(name string) error {
		value = cookie(h.Call().Request().HeaderValues("Cookie"), name)
		return nil
	})
	return value, err
}

func (h *TestHub) Fate(id *string) (fate any, err error) {
	err = given("key", id, func(id string) error {
		fate, _ = events.Load(id)
		return nil
	})
	return fate, err
}

func (h *TestHub) Count() int {
	n := 1
	if before, ok := h.Call().Items().Load("n"); ok {
		n = before.(int) + 1
	}
	h.Call().Items().Store("n", n)
	return n
}

func (h *TestHub) SendComplexObject() Complex {
	return Complex{
		String: new("hello world"), IntArray: []int32{1, 2, 3}, ByteArray: []byte{1, 2, 3},
		GUID:     GUID{0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0},
		DateTime: DateTime{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
}

// UncreatableHub has a constructor that fails.
type UncreatableHub struct{ hubsys.Hub }

func newUncreatableHub(context.Context) (*UncreatableHub, error) {
	return nil, errors.New("the hub cannot be created")
}

// AuthorizedHub is for users alone.
type AuthorizedHub struct{ hubsys.Hub }

func newAuthorizedHub(context.Context) (*AuthorizedHub, error) { return &AuthorizedHub{}, nil }

func (h *AuthorizedHub) Echo(message *string) *string { return message }
func (h *AuthorizedHub) UserID() *string              { return userID(h.Call()) }
