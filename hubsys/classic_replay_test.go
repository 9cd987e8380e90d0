package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A request that receives takes the place of another one: over whichever transport that is, it ends, and the new one goes on with the messages.
func TestATransportThatIsReplaced(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		for _, replacement := range classicTransports {
			t.Run(replacement, func(t *testing.T) {
				srv := newClassicServer(t, classicConfig{})
				c := dialClassic(t, srv, transport)
				if transport == "longPolling" {
					c.poll()
				}
				require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", 0))
				c.requireCall("called", 0)
				if transport == "longPolling" {
					c.poll()
				}
				d := c.again(srv.address)
				d.transport = replacement
				d.open("/poll", d.position()) // which is a reconnect, except for one that polls
				require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", 1))
				last := c.awaitEnd()
				switch transport {
				case "webSockets":
					require.Equal(t, websocket.StatusNormalClosure, receive(t, c.stream.code))
				case "longPolling":
					require.Equal(t, `{"C":"`+c.cursor+`","M":[]}`, last.raw)
				}
				d.requireCall("called", 1)
				require.Equal(t, `{"R":1,"I":"1"}`, d.invoke("Echo", 1).raw)
				want := []string{"Chat connected"}
				if replacement != "longPolling" {
					want = append(want, "Chat reconnected")
				}
				srv.awaitEvents(c.id, want...)
			})
		}
	})
}

// A new client gets nothing that was sent before it was there, and one that connects once more what was not written to it yet.
func TestWhatAConnectBrings(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", "before"))
		c.connect()
		c.start()
		for i := range 3 {
			require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", i))
			message := c.next()
			if i > 0 && message == classicCall("Chat", "called", i-1) { // the client had it before the server knew that it was written
				message = c.next()
			}
			require.Equal(t, classicCall("Chat", "called", i), message)
			c.connect() // which has no cursor
		}
	})
}

// The answer to a call belongs to the WebSocket that the call came over. One that comes later gets the messages, and not the answer.
func TestAnswersOfALostWebSocket(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	started, release := make(chan struct{}), make(chan struct{})
	srv.handle("wait", func(ctx context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		close(started)
		<-release
		return "lost", h.Clients().Caller().Send(ctx, "called", "for the next one")
	})
	c := dialClassic(t, srv, "webSockets")
	c.write(`{"H":"chat","M":"Do","A":["wait",[]],"I":"lost"}`)
	receive(t, started)
	c.drop()
	c.reconnect()
	close(release)
	c.requireCall("called", "for the next one")
	require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
	require.Empty(t, c.answers)
}

// Calls of one client run at the same time: one that waits holds up nobody.
func TestClassicCallsOverlap(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		started, release := make(chan struct{}), make(chan struct{})
		srv.handle("wait", func(context.Context, *classicHub, []json.RawMessage) (any, error) {
			close(started)
			<-release
			return "waited", nil
		})
		c := dialClassic(t, srv, transport)
		const call = `{"H":"chat","M":"Do","A":["wait",[]],"I":"waits"}`
		answer := make(chan string, 1)
		if transport == "webSockets" {
			c.write(call)
		} else {
			go func() {
				_, body := c.send(call)
				answer <- body
			}()
		}
		receive(t, started)
		require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
		close(release)
		want := `{"R":"waited","I":"waits"}`
		if transport == "webSockets" {
			require.Equal(t, want, c.awaitAnswer("waits").raw)
		} else {
			require.Equal(t, want, receive(t, answer))
		}
	})
}

// A client comes back when its session was lost, to the same server or to another one, is given nothing, and goes again. It gets what it misses then,
// though it has the cursor of its former session still.
func TestAClassicClientThatComesBackToANewSessionTwice(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		keys := [][]byte{[]byte("a key of thirty-two random bytes")}
		first := newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: keys}})
		second := newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: keys}})
		for _, srv := range []*classicServer{first, second} {
			for _, missed := range []int{1, 3, 5} { // fewer than the former session has sent, as many, more
				t.Run(fmt.Sprint(srv == first, " ", missed), func(t *testing.T) {
					c := dialClassic(t, first, transport)
					for i := range 3 {
						require.NoError(t, first.chat.Clients().Client(c.id).Send(t.Context(), "called", i))
						c.requireCall("called", i)
					}
					c.abort()
					c.drop()
					first.awaitEvents(c.id, "Chat connected", "Chat disconnected")
					before := len(srv.eventsOf(c.id))
					c.address = srv.address
					c.reconnect()
					eventually(t, func() bool { return len(srv.eventsOf(c.id)) == before+1 }, "it is back")
					c.drop()
					for i := range missed {
						require.NoError(t, srv.chat.Clients().Client(c.id).Send(t.Context(), "called", "missed", i))
					}
					c.transport = "serverSentEvents" // the answer comes with the response, behind the messages
					c.invoke("Nothing")
					c.transport = transport
					c.reconnect()
					require.NoError(t, srv.chat.Clients().Client(c.id).Send(t.Context(), "called", "new"))
					for i := range missed {
						c.requireCall("called", "missed", i)
					}
					c.requireCall("called", "new")
				})
			}
		}
	})
}
