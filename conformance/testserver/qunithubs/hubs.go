package qunithubs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// Demo has methods of all kinds.
type Demo struct{ hubsys.Hub }

func (h *Demo) Overload()             {}
func (h *Demo) OverloadOne(n int) int { return n }

// GetValue takes long enough for a client to go meanwhile.
func (h *Demo) GetValue(ctx context.Context) (int, error) { return 10, pass(ctx, 5*time.Second) }

func (h *Demo) SynchronousException() error { return errors.New("it fails") }

func (h *Demo) HubException() error {
	return &hubsys.HubError{Message: "message", Data: "errorData"}
}

func (h *Demo) HubExceptionWithoutErrorData() error { return &hubsys.HubError{Message: "message"} }

func (h *Demo) DoSomethingAndCallError(ctx context.Context) error {
	return h.Clients().Caller().Send(ctx, "errorInCallback")
}

func (h *Demo) TestGuid(ctx context.Context) error {
	return h.Clients().Caller().Send(ctx, "TestGuid", "00000000-0000-0000-0000-000000000000")
}

func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Status tells everybody who comes and goes.
type Status struct{ hubsys.Hub }

func (h *Status) OnConnected(ctx context.Context) error             { return h.tell(ctx, "joined") }
func (h *Status) OnReconnected(ctx context.Context) error           { return h.tell(ctx, "rejoined") }
func (h *Status) OnDisconnected(ctx context.Context, _ error) error { return h.tell(ctx, "leave") }

func (h *Status) tell(ctx context.Context, what string) error {
	return h.Clients().All().Send(ctx, what, h.Call().ConnectionID(), time.Now().String())
}

// GroupChat has groups that clients join.
type GroupChat struct{ hubsys.Hub }

func (h *GroupChat) Join(ctx context.Context, group string) error {
	return h.Groups().Join(ctx, group)
}

func (h *GroupChat) Send(ctx context.Context, group, message string) error {
	return h.Clients().Group(group).Send(ctx, "send", message)
}

// GroupJoiningHub has a group for each of its clients, which it sends to before the client has connected.
type GroupJoiningHub struct{ hubsys.Hub }

func (h *GroupJoiningHub) OnConnected(ctx context.Context) error {
	if err := h.Groups().Join(ctx, h.Call().ConnectionID()); err != nil {
		return err
	}
	return h.PingGroup(ctx)
}

func (h *GroupJoiningHub) PingGroup(ctx context.Context) error {
	return h.Clients().Group(h.Call().ConnectionID()).Send(ctx, "ping")
}

// EchoHub sends back what it gets.
type EchoHub struct{ hubsys.Hub }

func (h *EchoHub) EchoCallback(ctx context.Context, message string) error {
	return h.Clients().Caller().Send(ctx, "echo", message)
}

// OnConnectedBufferHub sends long before a client has connected.
type OnConnectedBufferHub struct{ hubsys.Hub }

func (h *OnConnectedBufferHub) OnConnected(ctx context.Context) error {
	for i := range 2 {
		if err := h.Clients().Caller().Send(ctx, "bufferMe", i); err != nil {
			return err
		}
	}
	return pass(ctx, 5*time.Second)
}

func (h *OnConnectedBufferHub) Ping(ctx context.Context) error {
	return h.Clients().Caller().Send(ctx, "pong")
}

// ConnectionDataVerifierHub calls "fail" of clients whose requests do not name it in their connection data.
type ConnectionDataVerifierHub struct{ hubsys.Hub }

func (h *ConnectionDataVerifierHub) OnConnected(ctx context.Context) error {
	_, err := h.verify(ctx)
	return err
}

func (h *ConnectionDataVerifierHub) OnReconnected(ctx context.Context) error {
	_, err := h.verify(ctx)
	return err
}

func (h *ConnectionDataVerifierHub) Ping(ctx context.Context) error {
	if ok, err := h.verify(ctx); !ok {
		return err
	}
	return h.Clients().Caller().Send(ctx, "pong")
}

func (h *ConnectionDataVerifierHub) verify(ctx context.Context) (bool, error) {
	data := h.Call().Request().Query("connectionData")
	if strings.Contains(strings.ToLower(data), "connectiondataverifierhub") {
		return true, nil
	}
	return false, h.Clients().Caller().Send(ctx, "fail", h.Call().Request().Path())
}

// RedirectTestHub tells a client what has come with its request.
type RedirectTestHub struct{ hubsys.Hub }

func (h *RedirectTestHub) EchoReturn(message string) string { return message }

// GetQueryStringValue returns nil for what is not in the query.
func (h *RedirectTestHub) GetQueryStringValue(key string) *string {
	values := h.Call().Request().QueryValues()[key]
	if len(values) == 0 {
		return nil
	}
	return &values[0]
}

// GetAccessToken returns the token from where a transport can put it.
func (h *RedirectTestHub) GetAccessToken() string {
	if token := h.Call().Request().Query("access_token"); token != "" {
		return token
	}
	token, _ := strings.CutPrefix(h.Call().Request().Header("Authorization"), "Bearer ")
	return token
}
