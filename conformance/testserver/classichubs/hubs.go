// Package classichubs has the hubs that the suites for SignalR 2 call.
package classichubs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// Person is an object with parts.
type Person struct {
	Name    *string
	Age     int
	Address *Address
	Tags    []string
}

// Address is a part of a Person.
type Address struct{ Street, Zip string }

// TestHub has what most suites call.
type TestHub struct{ hubsys.Hub }

const got = "got"

// Methods about values.

func (h *TestHub) Echo(s *string) *string         { return s }
func (h *TestHub) EchoAny(v any) any              { return v }
func (h *TestHub) Add(a, b int) int               { return a + b }
func (h *TestHub) Nothing()                       {}
func (h *TestHub) Null() *string                  { return nil }
func (h *TestHub) EchoPerson(p *Person) *Person   { return p }
func (h *TestHub) EchoBytes(b []byte) []byte      { return b }
func (h *TestHub) EchoMaybe(n *int) *int          { return n }
func (h *TestHub) EchoDate(t time.Time) time.Time { return t }
func (h *TestHub) EchoGuid(id string) string      { return id }
func (h *TestHub) Not(b bool) bool                { return !b }
func (h *TestHub) Half(f float64) float64         { return f / 2 }

func (h *TestHub) Rename(people []Person, name string) []Person {
	for i := range people {
		people[i].Name = &name
	}
	return people
}

func (h *TestHub) Sum(numbers []int) (sum int) {
	for _, n := range numbers {
		sum += n
	}
	return sum
}

func (h *TestHub) Counts(counts map[string]int) map[string]int {
	for name := range counts {
		counts[name]++
	}
	return counts
}

func (h *TestHub) Overload() string               { return "0" }
func (h *TestHub) OverloadOne(a string) string    { return "1:" + a }
func (h *TestHub) OverloadTwo(a, b string) string { return "2:" + a + b }

func (h *TestHub) Later(ctx context.Context, s string, ms int) (string, error) {
	return s, delay(ctx, ms)
}

func (h *TestHub) Wait(ctx context.Context, ms int) error { return delay(ctx, ms) }

func delay(ctx context.Context, ms int) error {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Methods that fail.

func (h *TestHub) Fail() error { return errors.New("secret reason") }

func (h *TestHub) FailLater(ctx context.Context) error {
	if err := delay(ctx, 10); err != nil {
		return err
	}
	return errors.New("secret reason")
}

func (h *TestHub) Canceled() error { return context.Canceled }
func (h *TestHub) FailHub() error  { return &hubsys.HubError{Message: "for you"} }

func (h *TestHub) FailHubData() error {
	return &hubsys.HubError{Message: "for you", Data: struct {
		User string `json:"user"`
		Code int
	}{"ada", 7}}
}

// Methods that call clients.

func (h *TestHub) CallMe(ctx context.Context, s string) error {
	return h.Clients().Caller().Send(ctx, got, s)
}

func (h *TestHub) CallNamed(ctx context.Context, method string, args []any) error {
	return h.Clients().Caller().Send(ctx, method, args...)
}

func (h *TestHub) CallPerson(ctx context.Context, p Person) error {
	return h.Clients().Caller().Send(ctx, "gotPerson", p, 1, "two")
}

func (h *TestHub) CallMany(ctx context.Context, n int) error {
	for i := range n {
		if err := h.Clients().Caller().Send(ctx, got, i); err != nil {
			return err
		}
	}
	return nil
}

func (h *TestHub) CallThenReturn(ctx context.Context, s string) (string, error) {
	return s, h.Clients().Caller().Send(ctx, got, s)
}

func (h *TestHub) CallOtherHub(ctx context.Context, s string) error {
	return other.Clients().Client(h.Call().ConnectionID()).Send(ctx, got, s)
}

func (h *TestHub) All(ctx context.Context, s string) error {
	return h.Clients().All().Send(ctx, got, s)
}

func (h *TestHub) Others(ctx context.Context, s string) error {
	return h.Clients().Others().Send(ctx, got, s)
}

func (h *TestHub) AllExcept(ctx context.Context, ids []string, s string) error {
	return h.Clients().AllExcept(ids...).Send(ctx, got, s)
}

func (h *TestHub) ToClient(ctx context.Context, id, s string) error {
	return h.Clients().Client(id).Send(ctx, got, s)
}

func (h *TestHub) ToClients(ctx context.Context, ids []string, s string) error {
	return h.Clients().Clients(ids...).Send(ctx, got, s)
}

func (h *TestHub) Join(ctx context.Context, g string) error  { return h.Groups().Join(ctx, g) }
func (h *TestHub) Leave(ctx context.Context, g string) error { return h.Groups().Leave(ctx, g) }

func (h *TestHub) JoinOther(ctx context.Context, id, g string) error {
	return h.Groups().Add(ctx, id, g)
}

func (h *TestHub) ToGroup(ctx context.Context, g, s string) error {
	return h.Clients().Group(g).Send(ctx, got, s)
}

func (h *TestHub) ToGroupExcept(ctx context.Context, g string, ids []string, s string) error {
	return h.Clients().Group(g).Except(ids...).Send(ctx, got, s)
}

func (h *TestHub) OthersInGroup(ctx context.Context, g, s string) error {
	return h.Clients().OthersInGroup(g).Send(ctx, got, s)
}

func (h *TestHub) ToGroups(ctx context.Context, gs []string, s string) error {
	return h.Clients().Groups(gs...).Send(ctx, got, s)
}

func (h *TestHub) OthersInGroups(ctx context.Context, gs []string, s string) error {
	return h.Clients().Groups(gs...).Except(h.Call().ConnectionID()).Send(ctx, got, s)
}

func (h *TestHub) JoinAndSend(ctx context.Context, g, s string) error {
	if err := h.Groups().Join(ctx, g); err != nil {
		return err
	}
	return h.ToGroup(ctx, g, s)
}

func (h *TestHub) ToUser(ctx context.Context, u, s string) error {
	return h.Clients().User(u).Send(ctx, got, s)
}

func (h *TestHub) ToUsers(ctx context.Context, us []string, s string) error {
	return h.Clients().Users(us...).Send(ctx, got, s)
}

// Methods about who calls.

// Identity is what the server knows of a client.
type Identity struct{ Id, User string }

func (h *TestHub) WhoAmI() Identity {
	return Identity{h.Call().ConnectionID(), h.Call().UserID()}
}

func (h *TestHub) Query(k string) string        { return h.Call().Request().Query(k) }
func (h *TestHub) RequestQuery(k string) string { return h.Call().Request().Query(k) }
func (h *TestHub) Header(k string) string       { return h.Call().Request().Header(k) }

func (h *TestHub) Cookie(k string) string {
	cookie, err := h.Call().Request().Cookie(k)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// Methods about state and progress.

func (h *TestHub) ReadState(k string) *string {
	v := h.Call().State().Get(k)
	if v == nil {
		return nil
	}
	text := fmt.Sprint(v)
	return &text
}

func (h *TestHub) ReadCaller() string {
	state := h.Call().State()
	return fmt.Sprint(state.Get("userName"), "@", state.Get("computer"))
}

func (h *TestHub) WriteState(k string, v any) { h.Call().State().Set(k, v) }

func (h *TestHub) CountState() int {
	n, _ := h.Call().State().Get("counter").(int64)
	h.Call().State().Set("counter", int(n)+1)
	return int(n) + 1
}

func (h *TestHub) StateThenCall(ctx context.Context) error {
	h.Call().State().Set("mark", "set")
	return h.Clients().Caller().Send(ctx, got, "call")
}

func (h *TestHub) Progress(ctx context.Context, n int, p hubsys.Progress[int]) (string, error) {
	for i := range n {
		if err := p.Report(ctx, i); err != nil {
			return "", err
		}
	}
	return "done", nil
}

// Job is a part of a job that is done.
type Job struct {
	Job     string
	Percent int
}

func (h *TestHub) ProgressTwo(ctx context.Context, job string, p hubsys.Progress[Job]) (string, error) {
	if err := p.Report(ctx, Job{job, 100}); err != nil {
		return "", err
	}
	return job + " done", delay(ctx, 80)
}

// OtherHub is another hub of the same clients.
type OtherHub struct{ hubsys.Hub }

func (h *OtherHub) Echo(s string) string { return "other:" + s }

func (h *OtherHub) Join(ctx context.Context, g string) error { return h.Groups().Join(ctx, g) }

func (h *OtherHub) ToGroup(ctx context.Context, g, s string) error {
	return h.Clients().Group(g).Send(ctx, got, s)
}

func (h *OtherHub) All(ctx context.Context, s string) error {
	return h.Clients().All().Send(ctx, got, s)
}

// NamedHub has a name that is not that of its type.
type NamedHub struct{ hubsys.Hub }

func (h *NamedHub) Say(s string) string { return "said " + s }
func (h *NamedHub) Plain() string       { return "plain" }

// TypedHub calls clients by typed messages.
type TypedHub struct{ hubsys.Hub }

func (h *TypedHub) Run(ctx context.Context, s string) error {
	if err := h.Clients().Caller().Send(ctx, "Notify", s, 1); err != nil {
		return err
	}
	h.Call().State().Set("typed", "yes")
	return h.Clients().Caller().Send(ctx, "Done")
}

// SecretHub wants a user.
type SecretHub struct{ hubsys.Hub }

func (h *SecretHub) Name() string { return h.Call().UserID() }

// MixedHub has methods for some.
type MixedHub struct{ hubsys.Hub }

func (h *MixedHub) One() string      { return "one" }
func (h *MixedHub) Admin() string    { return "admin" }
func (h *MixedHub) AdaOrBob() string { return "ada or bob" }
func (h *MixedHub) Free() string     { return "free" }

// EventHub notes what becomes of its connections.
type EventHub struct{ hubsys.Hub }

func (h *EventHub) OnConnected(ctx context.Context) error {
	r := h.Call().Request()
	note(h.Call().ConnectionID(), "connected:"+r.Query("transport")+":"+h.Call().UserID())
	if r.Query("refuse") == "1" {
		return errors.New("refused")
	}
	if err := h.Groups().Join(ctx, "early"); err != nil {
		return err
	}
	for i := range 2 {
		if err := h.Clients().Caller().Send(ctx, "hello", i); err != nil {
			return err
		}
	}
	if err := h.Clients().Group("early").Send(ctx, "hello", 2); err != nil {
		return err
	}
	ms, _ := strconv.Atoi(r.Query("delay"))
	return delay(ctx, ms)
}

func (h *EventHub) OnReconnected(context.Context) error {
	note(h.Call().ConnectionID(), "reconnected")
	return nil
}

func (h *EventHub) OnDisconnected(_ context.Context, cause error) error {
	note(h.Call().ConnectionID(), fmt.Sprintf("disconnected:%t:%s:%s", cause == nil, h.Call().UserID(), h.Call().Request().Query("tag")))
	return nil
}

func (h *EventHub) Events(id string) []string { return eventsOf(id) }

func (h *EventHub) Join(ctx context.Context, g string) error { return h.Groups().Join(ctx, g) }

func (h *EventHub) ToGroup(ctx context.Context, g, s string) error {
	return h.Clients().Group(g).Send(ctx, got, s)
}

func (h *EventHub) Later(ctx context.Context, ms int, s string) (string, error) {
	return s, delay(ctx, ms)
}
