package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// subscriber is a client of HubContext.Subscribe. It is not slow, unless a test sends it very much and takes nothing.
type subscriber struct {
	id    string
	ended <-chan error
	calls chan string
}

// received is what a subscriber gets, as text.
func received(method string, args []json.RawMessage) string {
	texts := make([]string, len(args))
	for i, arg := range args {
		texts[i] = string(arg)
	}
	return method + "(" + strings.Join(texts, ", ") + ")"
}

func subscribe(t testing.TB, hub *hubsys.HubContext, p *hubsys.Principal) *subscriber {
	t.Helper()
	s := &subscriber{calls: make(chan string, 1000)}
	var err error
	s.id, s.ended, err = hub.Subscribe(t.Context(), p, func(method string, args []json.RawMessage) { s.calls <- received(method, args) })
	require.NoError(t, err)
	return s
}

// A subscriber is part of each audience, and of none that leaves it out.
func TestASubscriberIsAClient(t *testing.T) {
	requests := make(chan *hubsys.Request, 2)
	srv := newTestServer(t, testConfig{onConnected: func(_ context.Context, h *testHub) error {
		if h.Call().UserID() == "ada" {
			requests <- h.Call().Request()
		}
		return nil
	}})
	c := dial(t, srv.url)
	s := subscribe(t, srv.hub, &hubsys.Principal{UserID: "ada"})
	request := receive(t, requests)
	require.Empty(t, request.Path()+request.Host()+request.RemoteAddr()+request.Query("id")+request.Header("Origin"))
	require.Zero(t, request.Transport())

	clients, ctx := srv.hub.Clients(), t.Context()
	require.NoError(t, srv.hub.Groups().Add(ctx, s.id, "g"))
	groups, err := clients.Client(s.id).Groups(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"g"}, groups)
	for name, to := range map[string]hubsys.Receiver{
		"all": clients.All(), "a group": clients.Group("g"), "a user": clients.User("ada"), "it": clients.Client(s.id), "without waiting": clients.All().NoWait(),
		"the latest": clients.All().Latest("key"),
	} {
		require.NoError(t, to.Send(ctx, "called", name))
		require.Equal(t, `called("`+name+`")`, receive(t, s.calls))
	}
	for name, to := range map[string]hubsys.Receiver{
		"others": clients.AllExcept(s.id), "another group": clients.Group("h"), "a group without it": clients.GroupExcept("g", s.id), "another user": clients.User("bob"),
	} {
		require.NoError(t, to.Send(ctx, "called", name))
	}
	require.NoError(t, clients.All().Send(ctx, "values", struct{ LongName []byte }{[]byte("b")}, nil, "a\x1eb", 1.5))
	require.Equal(t, `values({"longName":"Yg=="}, null, "a\u001eb", 1.5)`, receive(t, s.calls))
	require.NoError(t, clients.All().Send(ctx, "nothing"))
	require.Equal(t, `nothing()`, receive(t, s.calls))

	members, err := clients.All().Members(ctx)
	require.NoError(t, err)
	require.Len(t, members, 2)
	require.Contains(t, members, hubsys.Member{ConnectionID: s.id, UserID: "ada"})
	for change := range clients.Group("g").Watch(ctx) {
		require.Equal(t, []hubsys.Member{{ConnectionID: s.id, UserID: "ada"}}, change.Joined)
		break
	}
	_, err = hubsys.Invoke[string](ctx, clients.Client(s.id), "ask")
	require.ErrorIs(t, err, hubsys.ErrNotSupported)
	require.ErrorContains(t, err, "subscribers")
	require.Equal(t, map[string]float64{"web_sockets": 1, "in_process": 1}, valuesOf(srv.sys, "signalr.server.active_connections"))
	c.close()
	require.Empty(t, s.calls)
}

// What a subscriber gets belongs to it.
func TestASubscriberKeepsItsArguments(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	const messages = 100
	kept := make(chan []json.RawMessage, messages)
	_, _, err := hub.Subscribe(t.Context(), nil, func(_ string, args []json.RawMessage) {
		args[0][0] = 'x'
		_ = append(args[0], "yyyy"...)
		kept <- args
	})
	require.NoError(t, err)
	other := subscribe(t, hub, nil)
	var want [][]json.RawMessage
	for i := range messages {
		require.NoError(t, hub.Clients().All().Send(t.Context(), "n", "text", i))
		require.Equal(t, fmt.Sprintf(`n("text", %d)`, i), receive(t, other.calls))
		want = append(want, []json.RawMessage{json.RawMessage(`xtext"`), json.RawMessage(fmt.Sprint(i))})
	}
	for i := range messages {
		require.Equal(t, want[i], receive(t, kept))
	}
}

// Clients of both dialects and an actor that subscribes get the same messages: each audience in one order, and each sender's in its own.
func TestSubscribersSeeTheOrderOfClientsOfBothDialects(t *testing.T) {
	const senders, each = 6, 500
	srv := newClassicServer(t, classicConfig{})
	core, coreID := dialWithID(t, srv.http.URL+"/test", nil)
	classic := dialClassic(t, srv, "webSockets")

	type message struct{ text string }
	byActor := make(chan string, senders*each)
	root := srv.sys.ActorSystem().Root
	pid := root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if m, ok := c.Message().(message); ok {
			byActor <- m.text
		}
	}))
	id, _, err := srv.chat.Subscribe(t.Context(), nil, func(_ string, args []json.RawMessage) {
		var text string
		assert.NoError(t, json.Unmarshal(args[0], &text))
		root.Send(pid, message{text})
	})
	require.NoError(t, err)
	ids := []string{coreID, classic.id, id}
	for _, one := range ids {
		require.NoError(t, srv.chat.Groups().Add(t.Context(), one, "g"))
	}

	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			clients, ctx := srv.chat.Clients(), context.Background()
			for i := range each {
				text := fmt.Sprint(sender, ":", i)
				switch i % 3 {
				case 0:
					assert.NoError(t, clients.All().Send(ctx, "called", "all:"+text))
				case 1:
					assert.NoError(t, clients.Group("g").Send(ctx, "called", "group:"+text))
				default:
					for _, one := range ids {
						assert.NoError(t, clients.Client(one).Send(ctx, "called", "one:"+text))
					}
				}
			}
		})
	}
	var got [3][]string
	for range senders * each {
		m := core.next()
		require.Equal(t, "called", m.Target)
		got[0] = append(got[0], m.Arguments[0].(string))
		got[1] = append(got[1], textOf(t, classic.next()))
		got[2] = append(got[2], receive(t, byActor))
	}
	all.Wait()
	require.Empty(t, byActor)
	for _, list := range got {
		next := map[string]int{}
		for _, text := range list {
			parts := strings.Split(text, ":")
			require.Equal(t, fmt.Sprint(next[parts[1]]), parts[2], text)
			next[parts[1]]++
		}
		require.Len(t, next, senders)
		for _, audience := range []string{"all:", "group:"} {
			require.Equal(t, only(audience, got[0]), only(audience, list))
		}
	}
}

// only returns the texts with a prefix.
func only(prefix string, texts []string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return !strings.HasPrefix(text, prefix) })
}

// Subscribers get JSON from a hub that offers something else, and clients do not.
func TestASubscriberOfAHubWithoutJSON(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{Protocols: []hubproto.Protocol{hubproto.MessagePack}, MaximumReceiveMessageSize: 1}})
	s := subscribe(t, srv.hub, nil)
	require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "n", map[string]int{"a": 1}))
	require.Equal(t, `n({"a":1})`, receive(t, s.calls))

	srv = newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{Protocols: []hubproto.Protocol{hubproto.MessagePack}}})
	c := dialSocket(t, srv.url, dialOptions{})
	c.send(handshakeJSON)
	require.Equal(t, `{"error":"The protocol 'json' is not supported."}`, c.next().raw)
}

// Where there are several nodes, a subscriber gets what is sent on each of them.
func TestASubscriberOnOneOfSeveralNodes(t *testing.T) {
	servers := joinServers(t, inMemory(), 3)
	s := subscribe(t, servers[0].hub, &hubsys.Principal{UserID: "ada"})
	require.NoError(t, servers[1].hub.Groups().Add(t.Context(), s.id, "g"))
	for i, srv := range servers {
		clients := srv.hub.Clients()
		for _, to := range []hubsys.Receiver{clients.All(), clients.Group("g"), clients.User("ada"), clients.Client(s.id)} {
			require.NoError(t, to.Send(t.Context(), "called", i))
			require.Equal(t, fmt.Sprintf("called(%d)", i), receive(t, s.calls))
		}
		_, err := hubsys.Invoke[string](t.Context(), clients.Client(s.id), "ask")
		require.ErrorIs(t, err, hubsys.ErrNotSupported)
	}
	require.NoError(t, servers[2].hub.Clients().Client(s.id).Disconnect(t.Context(), "out"))
	var told *hubsys.HubError
	require.ErrorAs(t, receive(t, s.ended), &told)
	require.Equal(t, "out", told.Message)
}

// A subscription that fails leaves nothing behind.
func TestSubscriptionsThatFail(t *testing.T) {
	requireNoLeaks(t)
	refusal := errors.New("not you")
	var disconnected atomic.Int32
	srv := newTestServer(t, testConfig{
		Config: hubsys.Config{MaximumConnections: 2, MaximumConnectionsPerUser: 1, MaximumConnectionsPerAddress: 1},
		onConnected: func(ctx context.Context, h *testHub) error {
			switch h.Call().UserID() {
			case "refused":
				return refusal
			case "panics":
				panic("because of the test")
			case "aborted":
				h.Call().Abort()
				<-h.Call().Aborted()
				return refusal
			}
			return nil
		},
		onDisconnected: func(context.Context, *testHub, error) error { disconnected.Add(1); return nil },
	})
	none := func(string, []json.RawMessage) { t.Error("nothing is sent to it") }
	try := func(ctx context.Context, user string) error {
		id, ended, err := srv.hub.Subscribe(ctx, &hubsys.Principal{UserID: user}, none)
		require.Empty(t, id)
		require.Nil(t, ended)
		return err
	}
	for range 3 { // the limits of connections do not count what has failed
		require.Equal(t, refusal, try(t.Context(), "refused"))
		var panicked *hubsys.PanicError
		require.ErrorAs(t, try(t.Context(), "panics"), &panicked)
		require.Error(t, try(t.Context(), "aborted"))
		require.ErrorContains(t, try(t.Context(), strings.Repeat("u", 1<<20)), "UserID")
		why := errors.New("no longer")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		require.Equal(t, why, try(ctx, "late"))
		_, _, err := srv.hub.Subscribe(t.Context(), nil, nil)
		require.Error(t, err)
	}
	require.Zero(t, disconnected.Load())

	subscribe(t, srv.hub, &hubsys.Principal{UserID: "ada"})
	require.ErrorContains(t, try(t.Context(), "ada"), "A user can have at most 1 connections.")
	subscribe(t, srv.hub, nil)
	require.ErrorContains(t, try(t.Context(), "bob"), "The server can have at most 2 connections.")
	require.Equal(t, map[string]float64{"connections": 1, "connections_of_user": 1}, valuesOf(srv.sys, "troupe.limits.reached"))
	require.NoError(t, shutdown(srv.sys))
	require.ErrorIs(t, try(t.Context(), "bob"), hubsys.ErrShutdown)
}

// A subscriber may take its time with each message, also when many wait.
func TestASubscriberThatTakesTimeIsNotStalled(t *testing.T) {
	t.Parallel()
	const messages, pause = 50, 50 * time.Millisecond
	srv := newTestServer(t, testConfig{Config: hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{TransportSendTimeout: 20 * pause}}})
	got := make(chan struct{}, messages)
	id, ended, err := srv.hub.Subscribe(t.Context(), nil, func(string, []json.RawMessage) {
		time.Sleep(pause)
		got <- struct{}{}
	})
	require.NoError(t, err)
	for i := range messages {
		require.NoError(t, srv.hub.Clients().Client(id).Send(t.Context(), "m", i))
	}
	for range messages {
		select {
		case <-got:
		case err := <-ended:
			t.Fatal("it has ended: ", err)
		case <-time.After(testTimeout):
			t.Fatal("nothing comes")
		}
	}
}
