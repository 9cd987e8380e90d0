package planetest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// A topic that has no room at another node holds back its senders, and no others.
func testRoom(s *suite) {
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	s.subscribe(b, "slow", "fast")
	room := make(chan struct{})
	b.setRoom("slow", room)
	if !s.Promises.Room {
		s.Skip("Room is not promised")
	}
	var held <-chan struct{}
	s.await("there is no room", func() bool { held = s.publish(a, "slow", probe); return held != nil })
	s.reaches(a, b, "fast")
	select {
	case <-held:
		assert.Fail(s, "there is room")
	default:
	}
	b.setRoom("slow", nil)
	close(room)
	s.wait("room", held)
	s.await("there is room", func() bool { return s.publish(a, "slow", probe) == nil })
}

// Nobody waits for a node that is not there any more.
func testRoomOfLostNodes(s *suite) {
	if !s.Promises.Room || s.Kill == nil {
		s.Skip("Room is not promised, or nodes cannot be killed")
	}
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	s.subscribe(b, "slow")
	b.setRoom("slow", make(chan struct{}))
	var held <-chan struct{}
	s.await("there is no room", func() bool { held = s.publish(a, "slow", probe); return held != nil })
	s.kill(b)
	s.wait("room", held)
	s.wait("known", a.Subscribe("t"))
}

// What a node has published before it stops arrives, and then it is gone.
func testStop(s *suite) {
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	s.subscribe(b, "t")
	for i := range 500 {
		s.publish(a, "t", fmt.Sprint(i))
	}
	s.halt(a)
	s.await("a is gone", func() bool { return !b.sees(a) })
	history := b.history()
	assert.Equal(s, 500, len(b.messages(a.id)))
	assert.NotNil(s, history[len(history)-1].node, "that it has gone is told last")
	s.await("a is not listed", func() bool { return len(b.Nodes()) == 0 || !b.isUp(a) })
}

// A node that is killed is missed. The others go on.
func testKill(s *suite) {
	if s.Kill == nil {
		s.Skip("nodes cannot be killed")
	}
	nodes := s.cluster("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	s.subscribe(b, "t")
	s.subscribe(c, "t")
	s.kill(c)
	s.send(a, "t", "1")
	s.await("c is missed", func() bool { return !a.sees(c) && !b.sees(c) && !a.isUp(c) })
	s.subscribe(b, "u")
	s.send(a, "t", "2")
	s.reaches(a, b, "t")
	assert.Equal(s, []event{{from: a.id, topic: "t", text: "1"}, {from: a.id, topic: "t", text: "2"}}, b.wantedOf(a, "t"))
	d := s.start("d")
	s.subscribe(d, "t")
	s.reaches(a, d, "t")
}

// A node that cannot be reached and comes back has missed what was published meanwhile, and nothing else. Nothing arrives twice, or out of order.
func testLoss(s *suite) {
	if s.Cut == nil || s.Heal == nil {
		s.Skip("nodes cannot be cut")
	}
	nodes := s.cluster("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	for _, n := range nodes {
		s.subscribe(n, "t")
	}
	sent := 0
	send := func() {
		sent++
		s.send(a, "t", fmt.Sprint(sent))
	}
	for range 3 {
		for range 100 {
			send()
		}
		s.Cut(a.Backplane, b.Backplane)
		for range 100 {
			send()
		}
		s.await("a and b miss each other", func() bool { return !a.sees(b) && !b.sees(a) })
		for range 100 {
			send()
		}
		s.reaches(a, c, "t")
		s.Heal(a.Backplane, b.Backplane)
		s.await("a and b find each other", func() bool { return a.sees(b) && b.sees(a) && a.isUp(b) && b.isUp(a) })
		send()
		s.reaches(a, b, "t")
		messages := b.messages(a.id)
		assert.Equal(s, fmt.Sprint(sent), messages[len(messages)-1].text, "what is published when it is up arrives")
	}
	last := 0
	for _, e := range b.messages(a.id) {
		i, err := strconv.Atoi(e.text)
		require.NoError(s, err)
		require.Greater(s, i, last)
		last = i
	}
	s.reaches(a, c, "t")
	assert.Equal(s, sent, len(c.messages(a.id)), "a cut between others has cost nothing")
}

// Interest that has changed while a node could not be reached is known when it is back.
func testReturn(s *suite) {
	if s.Cut == nil || s.Heal == nil {
		s.Skip("nodes cannot be cut")
	}
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	s.subscribe(b, "before")
	s.Cut(a.Backplane, b.Backplane)
	s.await("a and b miss each other", func() bool { return !a.sees(b) && !b.sees(a) })
	s.wait("known", b.Subscribe("meanwhile"))
	b.Unsubscribe("before")
	s.Heal(a.Backplane, b.Backplane)
	s.await("a and b find each other", func() bool { return a.sees(b) && b.sees(a) })
	assert.True(s, a.Wanted("meanwhile"))
	s.subscribe(b, "after")
	s.send(a, "meanwhile", "1")
	s.send(a, "after", "2")
	s.reaches(a, b, "after")
	assert.Len(s, b.wantedOf(a, "meanwhile", "after"), 2)
	if s.Promises.Interest {
		s.await("the topic is not wanted", func() bool { return !a.Wanted("before") })
	}
	changes := changesOf(b, a)
	for i, e := range changes[1:] {
		assert.NotEqual(s, changes[i].Up, e.Up, "a node comes and goes in turn")
	}
}

func changesOf(n, of *node) (changes []backplane.Node) {
	for _, e := range n.history() {
		if e.node != nil && e.from == of.id {
			changes = append(changes, *e.node)
		}
	}
	return changes
}

// A request is answered by the host of the other node.
func testRelay(s *suite) {
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/chat?id=x", strings.NewReader("body"))
		r.Header.Set("Asked", "yes")
		return r
	}
	w := httptest.NewRecorder()
	err := a.Relay(b.id, w, request())
	if !s.Promises.Relay {
		assert.ErrorIs(s, err, backplane.ErrNoRelay)
		return
	}
	require.NoError(s, err)
	assert.Equal(s, http.StatusAccepted, w.Code)
	assert.Equal(s, "POST /chat?id=x body\n", w.Body.String())
	assert.Equal(s, "yes", w.Header().Get("Served"))
	s.halt(b)
	s.await("b is gone", func() bool { return !a.sees(b) })
	w = httptest.NewRecorder()
	assert.Error(s, a.Relay(b.id, w, request()))
	assert.Zero(s, w.Body.Len())
}
