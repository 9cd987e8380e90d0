package actors

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// expiringIn returns an identity of a user whose credentials expire after d.
func expiringIn(user string, d time.Duration) *Identity {
	return &Identity{UserID: user, Expires: time.Now().Add(d)}
}

const expiredClose = `{"type":7,"allowReconnect":true}`

func TestConnectionsAreClosedWhenTheirCredentialsExpire(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openAs("a", expiringIn("ada", 10*second))
		lasting := e.open("b", "ada")
		e.sleep(9*second + second/2)
		assert.False(t, c.socket.IsFinished())
		e.sleep(second)
		assert.True(t, c.socket.IsFinished())
		assert.Equal(t, []string{expiredClose, "close 1000"}, c.messages())
		assert.Equal(t, "disconnected a: "+ErrExpired.Error(), e.handler.events()[2])
		c.assertRemoved(t)
		e.sleep(3600 * second)
		assert.False(t, lasting.socket.IsFinished(), "a connection without an expiration")
	})
}

func TestCredentialsThatHaveExpiredBeforeTheConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for _, age := range []time.Duration{0, -second, -3600 * second} {
			c := e.openAs(age.String(), expiringIn("ada", age))
			e.sleep(2 * second)
			assert.Equal(t, []string{expiredClose, "close 1000"}, c.messages(), age)
		}
	})
}

// OnDisconnected runs once, and the Close message is sent once, however many ticks the end of the connection takes.
func TestExpiredConnectionIsClosedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.openAs("a", expiringIn("", 3*second))
		c.send(call("1", "gate"), call("2", "echo", "later"))
		e.sleep(7*second + second/2) // several ticks, and less than CloseTimeout
		assert.False(t, c.socket.IsFinished(), "calls that were received are executed first")
		assert.Len(t, e.handler.events(), 1)
		open()
		e.settle()
		assert.Equal(t, []string{result("1", `"passed"`), result("2", `["later"]`), expiredClose, "close 1000"}, without(c.messages(), ping))
		assert.Equal(t, []string{"connected a", "disconnected a: " + ErrExpired.Error()}, e.handler.events())
	})
}

// What the client sends after the end of its credentials is not executed.
func TestCallsAfterTheExpirationAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.openAs("a", expiringIn("", 3*second))
		c.send(call("1", "gate"))
		e.sleep(5 * second)
		c.send(call("2", "echo"))
		open()
		e.settle()
		assert.Equal(t, []string{result("1", `"passed"`), expiredClose, "close 1000"}, c.messages())
	})
}

func TestExpirationCanBeIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.IgnoreExpiration = true
		c := e.openAs("a", expiringIn("ada", 2*second))
		e.sleep(100 * second)
		assert.False(t, c.socket.IsFinished())
		require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("ada", 2*second)))
		e.sleep(100 * second)
		assert.False(t, c.socket.IsFinished())
		c.send(call("1", "echo"))
		e.settle()
		assert.Contains(t, c.messages(), result("1", "[]"))
	})
}

// A connection over event streams or polling gets the Close message as well.
func TestExpirationOfFetchedConnections(t *testing.T) {
	for name, polls := range map[string]bool{"events": false, "polls": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				f := e.connectFetcherAs("a", expiringIn("ada", 5*second), polls)
				f.send(`{"protocol":"json","version":1}`)
				ended := f.fetchAll()
				e.sleep(4*second + second/2)
				assert.Len(t, e.handler.events(), 1)
				e.sleep(second)
				require.NoError(t, <-ended)
				f.mu.Lock()
				records := splitRecords(t, f.received)
				f.mu.Unlock()
				assert.Equal(t, []string{"{}", expiredClose}, records)
				e.settle()
				assert.Equal(t, "disconnected a: "+ErrExpired.Error(), e.handler.events()[1])
			})
		})
	}
}

func TestIsOlderThan(t *testing.T) {
	at := time.Unix(1e9, 0)
	early, late, never := &Identity{Expires: at}, &Identity{Expires: at.Add(1)}, &Identity{}
	for _, test := range []struct {
		a, b *Identity
		want bool
	}{
		{early, late, true}, {late, early, false}, {early, early, false},
		{early, never, true}, {never, early, false}, {never, never, false},
	} {
		assert.Equal(t, test.want, test.a.IsOlderThan(test.b), "%v and %v", test.a.Expires, test.b.Expires)
	}
}

func TestRefreshPostponesTheExpiration(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openAs("a", expiringIn("ada", 5*second))
		for range 10 {
			e.sleep(3 * second)
			require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("ada", 5*second)))
		}
		assert.False(t, c.socket.IsFinished())
		e.sleep(6 * second)
		assert.Contains(t, c.messages(), expiredClose)
	})
}

// Refreshed credentials that expire before those of the connection change nothing.
func TestOlderCredentialsAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openAs("a", expiringIn("ada", 20*second))
		before := c.conn.Identity()
		require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("bob", 19*second)))
		e.settle()
		assert.Same(t, before, c.conn.Identity())
		assert.Len(t, e.handler.events(), 1, "Refreshed is not called")
		e.sleep(19*second + second/2)
		assert.False(t, c.socket.IsFinished())
		e.sleep(second)
		assert.True(t, c.socket.IsFinished())

		c = e.open("b", "ada") // never expires
		require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("ada", 3600*second)))
		assert.True(t, c.conn.Identity().Expires.IsZero())
	})
}

// The identity of a request that was late does not take a connection back from another user.
func TestAnIdentityOfTheFormerUserIsIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "ada")
		c.conn.SetIdentity(&Identity{UserID: "ada", Value: 1})
		e.settle()
		assert.Equal(t, 1, c.conn.Identity().Value)
		require.NoError(t, c.conn.Refresh(context.Background(), &Identity{UserID: "bob"}))
		c.conn.SetIdentity(&Identity{UserID: "ada"})
		e.settle()
		assert.Equal(t, "bob", c.conn.Identity().UserID)
	})
}

// The event of a refresh is one of the calls: those before it see the old identity, and those behind it the new one.
func TestRefreshIsInOrderWithCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		var running *Call
		e.handler.methods["gate"] = func(k *Call, args string) (any, error) { running = k; return gate(k, args) }
		e.handler.methods["who"] = func(k *Call, _ string) (any, error) {
			e.handler.record("who %s", k.Identity().UserID)
			return k.Identity().UserID, nil
		}
		c := e.openAs("a", expiringIn("ada", 50*second))
		c.send(call("1", "gate"))
		e.settle()
		require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("bob", 60*second)))
		c.send(call("2", "who"))
		e.settle()
		assert.Equal(t, "ada", running.Identity().UserID)
		open()
		e.settle()
		assert.Equal(t, "ada", running.Identity().UserID, "a call keeps the identity that it has begun with")
		assert.Equal(t, []string{"connected a", "refreshed a bob", "who bob"}, e.handler.events())
		assert.Equal(t, []string{result("1", `"passed"`), result("2", `"bob"`)}, c.messages())
	})
}

// Refreshes that come while the event of an earlier one waits have no events of their own.
func TestWaitingRefreshesAreOneEvent(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.openAs("a", expiringIn("0", second*50))
		c.send(call("1", "gate"))
		e.settle()
		for i := range 500 {
			require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("ada", time.Duration(50+i)*second)))
		}
		require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("last", 1000*second)))
		open()
		e.settle()
		assert.Equal(t, []string{"connected a", "refreshed a last"}, e.handler.events())
		require.NoError(t, c.conn.Refresh(context.Background(), expiringIn("later", 1001*second)))
		e.settle()
		assert.Equal(t, "refreshed a later", e.handler.events()[2])
		c.requireIdle(t)
	})
}

// A connection whose user changes is found by the new one alone.
func TestRefreshMovesAConnectionToAnotherUser(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openAs("a", &Identity{UserID: "ada"})
		for _, user := range []string{"bob", "", "ada"} {
			require.NoError(t, c.conn.Refresh(context.Background(), &Identity{UserID: user}))
			before := len(c.messages())
			for _, name := range []string{"ada", "bob"} {
				e.send(&Audience{Kind: Users, Names: []string{name}}, "to", name)
			}
			e.settle()
			var want []string
			if user != "" {
				want = []string{invocationRecord("to", user)}
			}
			assert.ElementsMatch(t, want, c.messages()[before:], user)
		}
		c.socket.Cut()
		e.settle()
		c.assertRemoved(t)
	})
}

func TestRefreshOfAConnectionThatIsNotOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.connect("a", "ada")
		require.ErrorIs(t, c.conn.Refresh(context.Background(), &Identity{UserID: "ada"}), ErrGone)
		c.sendHandshake("json")
		e.settle()
		require.NoError(t, c.conn.Refresh(context.Background(), &Identity{UserID: "ada"}))
		c.socket.Cut()
		e.settle()
		c.assertRemoved(t)
		require.ErrorIs(t, c.conn.Refresh(context.Background(), &Identity{UserID: "ada"}), ErrGone)
	})
}

// A connection that is closing takes no credentials, although a call of it still runs.
func TestRefreshOfAConnectionThatCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.openAs("a", expiringIn("ada", 2*second))
		c.send(call("1", "gate"))
		e.sleep(3 * second)
		require.ErrorIs(t, c.conn.Refresh(context.Background(), expiringIn("ada", 3600*second)), ErrGone)
		open()
		e.settle()
		assert.Equal(t, []string{result("1", `"passed"`), expiredClose, "close 1000"}, c.messages())
		assert.Equal(t, []string{"connected a", "disconnected a: " + ErrExpired.Error()}, e.handler.events())
	})
}

// A refresh while OnConnected runs is followed by its event, and OnConnected keeps the first identity.
func TestRefreshDuringOnConnected(t *testing.T) {
	inBubbleWith(t, second, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.connected = func(k *Call) error {
			_, _ = gate(k, "")
			if k.Identity().UserID != "ada" {
				return errors.New("the identity of a running call has changed")
			}
			return nil
		}
		c := e.openAs("a", &Identity{UserID: "ada"})
		require.NoError(t, c.conn.Refresh(context.Background(), &Identity{UserID: "bob"}))
		assert.Len(t, e.handler.events(), 1)
		open()
		e.settle()
		assert.Equal(t, []string{"connected a", "refreshed a bob"}, e.handler.events())
		assert.Empty(t, c.messages())
	}, hubproto.JSON)
}

// Dates beyond what a time.Duration can hold do not overflow.
func TestCredentialsOfTheYear9999DoNotExpire(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		far := &Identity{UserID: "ada", Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
		c, refreshed := e.openAs("a", far), e.openAs("b", expiringIn("ada", 10*second))
		require.NoError(t, refreshed.conn.Refresh(context.Background(), far))
		e.sleep(3600 * second)
		assert.False(t, c.socket.IsFinished())
		assert.False(t, refreshed.socket.IsFinished())
	})
}

func TestConnectionsDoNotExpireEarly(t *testing.T) {
	for _, lifetime := range []time.Duration{3900 * time.Millisecond, 4 * second, 4001 * time.Millisecond, 100 * time.Millisecond} {
		inBubble(t, func(t *testing.T, e *env) {
			e.sleep(second / 2) // so that the times of checks are no times of connections
			c := e.openAs("a", expiringIn("ada", lifetime))
			e.sleep(lifetime - time.Nanosecond)
			assert.False(t, c.socket.IsFinished(), lifetime)
			assert.NotContains(t, c.messages(), expiredClose, lifetime)
			e.sleep(2*second + time.Nanosecond)
			assert.True(t, c.socket.IsFinished(), lifetime)
		})
	}
}
