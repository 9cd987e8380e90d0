package cluster

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

var kilobyte = strings.Repeat("x", 1024)

// fill publishes until there is no room.
func fill(t *testing.T, p *meshNode, topic string) <-chan struct{} {
	for range 2 * window / 1024 {
		if room := p.publish(topic, kilobyte); room != nil {
			return room
		}
	}
	t.Fatal("there is no end of room")
	return nil
}

func TestSendersWaitForRoomInTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		block := make(chan struct{})
		b.setBlock(block)
		room := fill(t, a, "x")
		synctest.Wait()
		p := a.metricsOf(b)
		assert.InDelta(t, window, p.Queued+p.Unacknowledged, 2048)
		assert.LessOrEqual(t, p.Unacknowledged, window)
		assert.False(t, isClosed(room))
		b.setBlock(nil)
		close(block)
		settle()
		assert.True(t, isClosed(room))
		assert.Nil(t, a.publish("x", "more"))
	})
}

// A node that acknowledges nothing for a second holds up nobody, though the link stays up as long as it says that it is alive.
func TestSendersDoNotWaitForNodesThatHaveStalled(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		block := make(chan struct{})
		b.setBlock(block)
		assert.InDelta(t, stallAfter.Seconds(), waitFor(fill(t, a, "x")).Seconds(), 0.01)
		assert.Nil(t, a.publish("x", "more"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.True(t, a.link(b).isUp())
		assert.Nil(t, a.publish("x", "more"))
		b.setBlock(nil)
		close(block)
		settle()
		assert.Zero(t, a.metricsOf(b).Unacknowledged)
		assert.Zero(t, a.Status().LostMessages)
	})
}

func TestSendersGoOnWhenTheLinkGoesDown(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		b.setBlock(make(chan struct{}))
		room := fill(t, a, "x")
		m.kill(b.id)
		assert.LessOrEqual(t, waitFor(room), 3*time.Millisecond)
		close(b.block)
	})
}

func TestWhatCannotWaitIsDroppedAboveTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		block := make(chan struct{})
		b.setBlock(block)
		for range 10 << 10 {
			a.publish("x", kilobyte)
		}
		synctest.Wait()
		p := a.metricsOf(b)
		assert.LessOrEqual(t, p.Queued, queueLimit+2048)
		assert.NotZero(t, p.LostMessages)
		b.setBlock(nil)
		close(block)
		settle()
		a.publish("x", "end")
		settle()
		p = a.metricsOf(b)
		assert.Equal(t, p.LostMessages, b.metricsOf(a).MissedMessages)
		assert.Len(t, b.all(), 10<<10+1-int(p.LostMessages))
		assert.Zero(t, p.LostBatches)
		assert.True(t, a.link(b).isUp())
	})
}

// Of several nodes the slowest one is waited for.
func TestTheSlowestNodeIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		c := m.start(t, "c")
		c.subscribe("x", "y")
		b.subscribe("z")
		blockB, blockC := make(chan struct{}), make(chan struct{})
		b.setBlock(blockB)
		c.setBlock(blockC)
		fill(t, a, "y")
		for range 2 * window / 1024 {
			a.publish("z", kilobyte)
		}
		synctest.Wait()
		room := a.publish("x", "1")
		c.setBlock(nil)
		close(blockC)
		settle()
		assert.False(t, isClosed(room))
		b.setBlock(nil)
		close(blockB)
		settle()
		assert.True(t, isClosed(room))
	})
}

// A topic that has no room at the other node holds up its own senders alone.
func TestTopicsArePressed(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		b.subscribe("y")
		room := make(chan struct{})
		b.setRoom("x", room)
		assert.Nil(t, a.publish("x", "1"))
		settle()
		pressed := a.publish("x", "2")
		assert.NotNil(t, pressed)
		assert.Nil(t, a.publish("y", "3"))
		assert.Equal(t, 1, a.metricsOf(b).Pressed)
		time.Sleep(10 * time.Second)
		assert.False(t, isClosed(pressed))

		// What was under way has made the host return another room: this is the one that counts.
		last := make(chan struct{})
		b.setRoom("x", last)
		a.publish("x", "4")
		settle()
		close(room)
		settle()
		assert.False(t, isClosed(pressed))
		b.setRoom("x", nil)
		close(last)
		settle()
		assert.True(t, isClosed(pressed))
		assert.Nil(t, a.publish("x", "5"))
	})
}

func TestPressedTopicsAreReleasedWhenTheLinkGoesDown(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		b.setRoom("x", make(chan struct{}))
		a.publish("x", "1")
		settle()
		pressed := a.publish("x", "2")
		time.Sleep(time.Second)
		assert.False(t, isClosed(pressed))
		b.node.Load().broken(a.id)
		settle()
		assert.True(t, isClosed(pressed))
		assert.Nil(t, a.publish("x", "3"))
		settle()
		assert.NotNil(t, a.publish("x", "4"), "the host has still no room")
	})
}

func TestTheNumberOfPressedTopicsIsLimited(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		room := make(chan struct{})
		for i := range maxPressed + 10 {
			topic := fmt.Sprint(i)
			b.subscribe(topic)
			b.setRoom(topic, room)
			a.publish(topic, "1")
		}
		settle()
		assert.Equal(t, maxPressed, a.metricsOf(b).Pressed)
		close(room)
		settle()
		assert.Zero(t, a.metricsOf(b).Pressed)
	})
}
