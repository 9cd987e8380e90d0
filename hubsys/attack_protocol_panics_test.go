package hubsys_test

import (
	"bytes"
	"context"
	"net/http"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// mined is a protocol of the application's that panics over some messages.
type mined struct{ hubproto.Protocol }

func tread(where string, b []byte) {
	if bytes.Contains(b, []byte("mine in "+where)) {
		panic("trodden on: " + where)
	}
}

func (p mined) Next(buf []byte, searched, limit int) (int, error) {
	tread("Next", buf)
	return p.Protocol.Next(buf, searched, limit)
}

func (p mined) Parse(record []byte, m *hubproto.Message) error {
	tread("Parse", record)
	return p.Protocol.Parse(record, m)
}

func (p mined) BindArguments(arguments []byte, params []reflect.Value) error {
	tread("BindArguments", arguments)
	return p.Protocol.BindArguments(arguments, params)
}

func (p mined) AppendResult(dst, id []byte, result any) ([]byte, error) {
	if text, ok := result.(string); ok {
		tread("AppendResult", []byte(text))
	}
	return p.Protocol.AppendResult(dst, id, result)
}

// newMined is a world whose protocol panics, and tells who has left.
func newMined(t *testing.T) (w *world, left chan error) {
	left = make(chan error, 10)
	return newWorld(t, setup{
		HubOptions:      hubsys.HubOptions{Protocols: []hubproto.Protocol{mined{hubproto.JSON}}},
		EndpointOptions: hubsys.EndpointOptions{CloseTimeout: 1e9},
		disconnected:    func(_ context.Context, _ *lab, cause error) error { left <- cause; return nil },
	}), left
}

func mine(where string) string { return invocation("1", "Echo", "mine in "+where) + separator }

// A protocol that panics over the bytes of a client ends that client's connection, and nothing else.
func TestAProtocolThatPanicsEndsOneConnection(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		w, left := newMined(t)
		others := newNeighbours(w, 3)
		for _, where := range []string{"Next", "Parse"} {
			c := dial(t, w.url)
			c.sendRaw(mine(where))
			for {
				if _, err := c.read(); err != nil {
					break
				}
			}
			require.Error(t, wait(t, left), "what OnDisconnected is told after %s", where)
			others.fine()

			query := poller(t, w.url, "json")
			answerOrPanic(func() { ask(w.sys, http.MethodPost, "/lab"+query, mine(where), nil) })
			require.Error(t, wait(t, left), "what OnDisconnected is told after %s in a POST", where)
			others.fine()
		}
		require.Empty(t, left)
		require.NoError(t, shutdown(w.sys))
	})
}

// It may come with the handshake, or before the connection has its transport.
func TestAProtocolThatPanicsOverTheFirstBytes(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		w, _ := newMined(t)
		others := newNeighbours(w, 3)
		for _, where := range []string{"Next", "Parse"} {
			c := open(t, w.url, dialing{})
			c.sendRaw(greeting + separator + mine(where))
			for {
				if _, err := c.read(); err != nil {
					break
				}
			}
			query := opening(t, w.url)
			ask(w.sys, http.MethodPost, "/lab"+query, greeting+separator+mine(where), nil)
			answerOrPanic(func() { ask(w.sys, http.MethodGet, "/lab"+query, "", nil) })
			others.fine()

			query = opening(t, w.url)
			ask(w.sys, http.MethodPost, "/lab"+query, greeting+separator+mine(where), nil)
			connect(t, w.url).upgrade(query, "")
			others.fine()
		}
		require.NoError(t, shutdown(w.sys))
	})
}

// answerOrPanic makes a request that net/http would recover from.
func answerOrPanic(request func()) {
	defer func() { _ = recover() }()
	request()
}

// What panics for one call fails that call.
func TestAProtocolThatPanicsInACallFailsIt(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		w, left := newMined(t)
		others := newNeighbours(w, 2)
		c := dial(t, w.url)
		for _, where := range []string{"BindArguments", "AppendResult"} {
			require.NotNil(t, c.invoke("Echo", "mine in "+where).Error, where)
			c.quiet()
			others.fine()
			c.aside, c.unread = nil, ""
			c.got("all", "here")
		}
		require.Empty(t, left)
		require.NoError(t, shutdown(w.sys))
	})
}
