package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

var (
	messageText  = typed.Message1[string]("Message")
	number       = typed.Message1[int]("Number")
	customObject = typed.Message1[*CustomObject]("CustomObject")
	receiveText  = typed.Message2[int, string]("Receive")
)

// TestHub has a method for each thing that a hub can do.
type TestHub struct {
	hubsys.Hub
	clock Clock
}

// Clock stands for a service, which a hub gets from its constructor.
type Clock struct{ Name string }

func newTestHub(context.Context) (*TestHub, error) { return &TestHub{clock: Clock{"clock"}}, nil }

// events remembers how connections have ended.
var events sync.Map

func (h *TestHub) OnConnected(context.Context) error {
	if h.Call().Request().Query("fail") == "1" {
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

func (h *TestHub) Echo(message *string) *string           { return message }
func (h *TestHub) ThrowException(message string) error    { return errors.New(message) }
func (h *TestHub) ThrowHubException(message string) error { return &hubsys.HubError{Message: message} }
func (h *TestHub) Panic(message string)                   { panic(message) }
func (h *TestHub) Add(a, b int32) int32                   { return a + b }
func (h *TestHub) Nothing()                               {}
func (h *TestHub) Null() *string                          { return nil }
func (h *TestHub) Service() string                        { return h.clock.Name }
func (h *TestHub) Original() string                       { return "renamed" }
func (h *TestHub) ID() string                             { return h.Call().ConnectionID() }
func (h *TestHub) Abort()                                 { h.Call().Abort() }
func (h *TestHub) EchoComplexObject(o *Complex) *Complex  { return o }
func (h *TestHub) GetContentTypeHeader() *string {
	return optional(h.Call().Request().Header("Content-Type"))
}
func (h *TestHub) UserID() *string                { return optional(h.Call().UserID()) }
func (h *TestHub) GetActiveTransportName() string { return h.Call().Request().Transport().String() }
func (h *TestHub) Query(key string) *string {
	return optional(joined(h.Call().Request().QueryValues(), key))
}

func (h *TestHub) InvokeWithString(ctx context.Context, message string) error {
	return messageText.Send(ctx, h.Clients().Client(h.Call().ConnectionID()), message)
}

func (h *TestHub) SendCustomObject(ctx context.Context, o *CustomObject) error {
	return customObject.Send(ctx, h.Clients().Client(h.Call().ConnectionID()), o)
}

func (h *TestHub) Fate(id string) any {
	fate, _ := events.Load(id)
	return fate
}

func (h *TestHub) Count() int {
	n := 1
	if before, ok := h.Call().Items().Load("n"); ok {
		n = before.(int) + 1
	}
	h.Call().Items().Store("n", n)
	return n
}

func (h *TestHub) GetCookie(name string) *string {
	cookie, err := h.Call().Request().Cookie(name)
	if err != nil {
		return nil
	}
	return &cookie.Value
}

func (h *TestHub) SendComplexObject() Complex {
	return Complex{
		String: optional("hello world"), IntArray: []int32{1, 2, 3}, ByteArray: []byte{1, 2, 3},
		GUID:     GUID{0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0},
		DateTime: DateTime{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
}

func (h *TestHub) Slow(ms int32) int32 {
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return ms
}

func (h *TestHub) Burst(ctx context.Context, n int) error {
	for i := range n {
		if err := number.Send(ctx, h.Clients().Caller(), i); err != nil {
			return err
		}
	}
	return nil
}

func (h *TestHub) Join(ctx context.Context, g string) error {
	return h.Groups().Add(ctx, h.Call().ConnectionID(), g)
}

func (h *TestHub) Leave(ctx context.Context, g string) error {
	return h.Groups().Remove(ctx, h.Call().ConnectionID(), g)
}

func (h *TestHub) ToAll(ctx context.Context, m string) error {
	return messageText.Send(ctx, h.Clients().All(), m)
}

func (h *TestHub) ToCaller(ctx context.Context, m string) error {
	return messageText.Send(ctx, h.Clients().Caller(), m)
}

func (h *TestHub) ToOthers(ctx context.Context, m string) error {
	return messageText.Send(ctx, h.Clients().Others(), m)
}

func (h *TestHub) ToClient(ctx context.Context, id, m string) error {
	return messageText.Send(ctx, h.Clients().Client(id), m)
}

func (h *TestHub) ToClients(ctx context.Context, ids []string, m string) error {
	return messageText.Send(ctx, h.Clients().Clients(ids...), m)
}

func (h *TestHub) ToAllExcept(ctx context.Context, ids []string, m string) error {
	return messageText.Send(ctx, h.Clients().AllExcept(ids...), m)
}

func (h *TestHub) ToGroup(ctx context.Context, g, m string) error {
	return messageText.Send(ctx, h.Clients().Group(g), m)
}

func (h *TestHub) ToGroups(ctx context.Context, g []string, m string) error {
	return messageText.Send(ctx, h.Clients().Groups(g...), m)
}

func (h *TestHub) ToGroupExcept(ctx context.Context, g string, ids []string, m string) error {
	return messageText.Send(ctx, h.Clients().GroupExcept(g, ids...), m)
}

func (h *TestHub) ToOthersInGroup(ctx context.Context, g, m string) error {
	return messageText.Send(ctx, h.Clients().OthersInGroup(g), m)
}

func (h *TestHub) ToUser(ctx context.Context, u, m string) error {
	return messageText.Send(ctx, h.Clients().User(u), m)
}

func (h *TestHub) ToUsers(ctx context.Context, u []string, m string) error {
	return messageText.Send(ctx, h.Clients().Users(u...), m)
}

// UncreatableHub has a constructor that fails.
type UncreatableHub struct{ hubsys.Hub }

func newUncreatableHub(context.Context) (*UncreatableHub, error) {
	return nil, errors.New("the hub cannot be created")
}

// BenchHub is for measurements.
type BenchHub struct{ hubsys.Hub }

func newBenchHub(context.Context) (*BenchHub, error) { return &BenchHub{}, nil }

func (h *BenchHub) Echo(s string) string { return s }
func (h *BenchHub) ID() string           { return h.Call().ConnectionID() }

func (h *BenchHub) Slow(ctx context.Context, ms int32) (int32, error) {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return ms, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (h *BenchHub) Broadcast(ctx context.Context, i int, text string) error {
	return receiveText.Send(ctx, h.Clients().All(), i, text)
}

func (h *BenchHub) Join(ctx context.Context, g string) error {
	return h.Groups().Add(ctx, h.Call().ConnectionID(), g)
}

func (h *BenchHub) SendGroup(ctx context.Context, g string, i int, text string) error {
	return receiveText.Send(ctx, h.Clients().Group(g), i, text)
}

func (h *BenchHub) SendTo(ctx context.Context, id string, i int, text string) error {
	return receiveText.Send(ctx, h.Clients().Client(id), i, text)
}
