package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

func TestNodesHearEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b, c := m.start(t, "a"), m.start(t, "b"), m.start(t, "c")
		assert.False(t, a.Wanted("x"))
		b.subscribe("x", "y")
		c.subscribe("x")
		assert.True(t, a.Wanted("x"))
		a.publish("x", "1")
		a.publish("y", "2")
		a.publish("z", "3")
		b.publish("x", "4")
		settle()
		assert.Equal(t, []received{{a.id, "x", "1"}, {a.id, "y", "2"}}, b.all())
		assert.ElementsMatch(t, []received{{a.id, "x", "1"}, {b.id, "x", "4"}}, c.all())
		assert.Empty(t, a.all())
		assert.ElementsMatch(t, []backplane.Node{{ID: a.id, Name: "a", Up: true}, {ID: c.id, Name: "c", Up: true}}, b.Nodes())
		b.Unsubscribe("x")
		b.Unsubscribe("y")
		settle()
		assert.False(t, a.Wanted("y"))
		a.publish("x", "5")
		settle()
		assert.Len(t, b.all(), 2)
		assert.Len(t, c.all(), 3)
	})
}

// A node that starts knows what others want, and they have heard of it, when Start returns.
func TestStartWaitsForInterest(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		m.delay = func() time.Duration { return 50 * time.Millisecond }
		a, b := m.start(t, "a"), m.start(t, "b")
		a.subscribe("x")
		b.subscribe("y")
		c := m.start(t, "c")
		assert.True(t, c.Wanted("x"))
		assert.True(t, c.Wanted("y"))
		assert.False(t, c.Wanted("z"))
		assert.Equal(t, 2, c.Status().MembersUp)
		synctest.Wait()
		assert.Len(t, c.changed(), 2)
	})
}

func TestStartDoesNotWaitForWhoCannotBeReached(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		next := backplane.NodeID(77)
		c := &meshNode{Backplane: m.open("c"), t: t}
		c.settings.draw = func() backplane.NodeID { return next }
		m.cut(a.id, next)
		began := time.Now()
		id, err := c.Start(context.Background(), c)
		require.NoError(t, err)
		defer c.Stop(context.Background())
		assert.Equal(t, next, id)
		assert.InDelta(t, patience.Seconds(), time.Since(began).Seconds(), 0.2)
		assert.ElementsMatch(t, []backplane.Node{{ID: a.id, Name: "a"}, {ID: b.id, Name: "b", Up: true}}, c.Nodes())
		synctest.Wait()
		assert.Equal(t, []backplane.Node{{ID: b.id, Name: "b", Up: true}}, c.changed())
	})
}

func TestStartEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a := m.start(t, "a")
		c := &meshNode{Backplane: m.open("c"), t: t}
		c.settings.draw = func() backplane.NodeID { return 77 }
		m.cut(77, a.id)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Start(ctx, c)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "(a)")
		assert.NoError(t, c.Stop(context.Background()))
		settle()
		assert.Empty(t, a.Nodes())
		assert.Empty(t, c.changed())
	})
}

func TestStartFailsIfTheClusterCannotBeJoined(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		b := m.open("b")
		b.settings.join = func(context.Context, member, backplane.Host, events) (network, error) { return nil, errMeshRefuses }
		_, err := b.Start(context.Background(), &meshNode{})
		assert.ErrorIs(t, err, errMeshRefuses)
	})
}

// Of two nodes with one id the younger draws again.
func TestIDsAreDrawnAgainIfTheyAreTaken(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		a.subscribe("x")
		ids := []backplane.NodeID{a.id, b.id, 77}
		c := &meshNode{Backplane: m.open("c"), t: t}
		c.settings.draw = func() backplane.NodeID { id := ids[0]; ids = ids[1:]; return id }
		id, err := c.Start(context.Background(), c)
		require.NoError(t, err)
		defer c.Stop(context.Background())
		assert.Equal(t, backplane.NodeID(77), id)
		settle()
		assert.ElementsMatch(t, []backplane.Node{{ID: b.id, Name: "b", Up: true}, {ID: 77, Name: "c", Up: true}}, a.Nodes())
		c.publish("x", "1")
		settle()
		assert.Equal(t, []received{{77, "x", "1"}}, a.all())
	})
}

// A third node tells one that starts that its id is taken, if the network has not.
func TestOthersTellThatAnIDIsTaken(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		n := newNode(context.Background(), &a.settings, a)
		n.id = b.id
		l := a.link(b)
		hello := n.helloFrom(t, a.id)
		l.mu.Lock() // without a signal, so that the answer is not sent before it is looked at
		l.greeted(hello.GetHello(), hello.GetSession(), time.Now())
		l.mu.Unlock()
		f := l.next(time.Now()).frame
		require.Equal(t, n.life, f.GetHello().GetTaken())
		f.From, f.To = uint32(a.id), uint32(b.id)
		n.frame(f)
		select {
		case <-n.taken:
		default:
			t.Error("it has not been told")
		}
		b.node.Load().frame(f)
		assert.True(t, l.isUp())
	})
}

func TestNodesOfOtherClustersAndVersionsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a := m.start(t, "a")
		for _, change := range []func(*settings){
			func(s *settings) { s.cluster = "other" },
			func(s *settings) { s.network = "pigeons" },
		} {
			other := &meshNode{Backplane: m.open("b"), t: t}
			change(&other.settings)
			_, err := other.Start(context.Background(), other)
			require.NoError(t, err)
			settle()
			require.Len(t, other.Nodes(), 1)
			assert.False(t, other.Nodes()[0].Up)
			for _, p := range a.Status().Peers {
				assert.False(t, p.Up)
				assert.NotEmpty(t, p.Refused)
			}
			require.NoError(t, other.Stop(context.Background()))
		}
		assert.Empty(t, a.changed())
	})
}

func TestTooLargeMessagesFail(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		a.settings.maxMessage = 1 << 20
		b.subscribe("x")
		_, err := a.Publish("x", make([]byte, 1<<20+1))
		var large *backplane.TooLargeError
		require.True(t, errors.As(err, &large))
		assert.Equal(t, backplane.TooLargeError{Size: 1<<20 + 1, Limit: 1 << 20}, *large)
		a.publish("x", "before")
		a.publish("x", strings.Repeat("x", 1<<20))
		a.publish("x", "after")
		settle()
		got := b.all()
		require.Len(t, got, 3)
		assert.Equal(t, strings.Repeat("x", 1<<20), got[1].text)
		b.settings.maxMessage = 1 << 19
		a.publish("x", strings.Repeat("x", 1<<20))
		a.publish("x", "after")
		settle()
		assert.Len(t, b.all(), 4, "a node that takes less ignores it")
		assert.Equal(t, uint64(1), b.Status().Ignored)
		assert.Equal(t, uint64(1), b.hasMissed(), "its host knows: it may wait for an answer")
		assert.Zero(t, a.Status().LostMessages)
	})
}

func TestSecretsDependOnTheKeyAndThePurpose(t *testing.T) {
	a, b := newMesh().open("a"), newMesh().open("b")
	assert.Equal(t, a.Secrets("x"), b.Secrets("x"))
	require.Len(t, a.Secrets("x"), 1)
	assert.Len(t, a.Secrets("x")[0], 32)
	assert.NotEqual(t, a.Secrets("x"), a.Secrets("y"))
	assert.NotEqual(t, a.settings.topicKeys[0], a.Secrets("topics")[0])
	other := newBackplane(settings{keys: [][]byte{[]byte("other"), []byte("key")}})
	assert.NotEqual(t, a.Secrets("x")[0], other.Secrets("x")[0])
	assert.Equal(t, a.Secrets("x")[0], other.Secrets("x")[1])
}

func TestRelayReachesTheHostOfTheOtherNode(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		w := httptest.NewRecorder()
		require.NoError(t, a.Relay(b.id, w, httptest.NewRequest(http.MethodGet, "/", nil)))
		assert.Equal(t, http.StatusTeapot, w.Code)
		w = httptest.NewRecorder()
		assert.Error(t, a.Relay(12, w, httptest.NewRequest(http.MethodGet, "/", nil)))
		m.kill(b.id)
		settle()
		assert.Error(t, a.Relay(b.id, w, httptest.NewRequest(http.MethodGet, "/", nil)))
		assert.False(t, w.Flushed)
	})
}

func TestDrainIsToldToOthers(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		a.Drain()
		settle()
		assert.True(t, b.metricsOf(a).Draining)
		assert.True(t, b.metricsOf(a).Up)
	})
}

// Stop delivers what is queued, and says Bye, so that the others need not miss the node first.
func TestStopDeliversWhatIsQueued(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		m.delay = func() time.Duration { return 10 * time.Millisecond }
		a, b := m.start(t, "a"), m.start(t, "b")
		b.subscribe("x")
		for range 2000 {
			a.publish("x", strings.Repeat("x", 1000))
		}
		began := time.Now()
		require.NoError(t, a.Stop(context.Background()))
		assert.Less(t, time.Since(began), time.Second)
		time.Sleep(12 * time.Millisecond) // the way of the Bye
		synctest.Wait()
		assert.Len(t, b.all(), 2000)
		assert.Equal(t, []backplane.Node{{ID: a.id, Name: "a", Up: true}, {ID: a.id, Name: "a"}}, b.changed())
		assert.Empty(t, b.Nodes())
		assert.Zero(t, b.Status().MissedMessages)
		assert.Zero(t, a.Status().LostMessages)
		assert.Nil(t, a.Subscribe("y"))
		assert.Nil(t, a.publish("x", "ignored"))
		assert.NoError(t, a.Stop(context.Background()))
	})
}

func TestStopDoesNotWaitForLong(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		b.subscribe("x")
		b.setBlock(make(chan struct{}))
		a.publish("x", "1")
		began := time.Now()
		require.NoError(t, a.Stop(context.Background()))
		assert.InDelta(t, 1, time.Since(began).Seconds(), 0.2)
		close(b.block)
	})
}
