package main

import (
	"io"
	"net"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mortals accepts connections that end when they have been read so often. closedThere tells of those that the client has closed.
type mortals struct {
	net.Listener
	reads       int
	conns       chan net.Conn
	closedThere chan struct{}
}

func (m *mortals) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	if err == nil {
		m.conns <- conn
	}
	return &mortal{conn, m.reads, m.closedThere}, err
}

type mortal struct {
	net.Conn
	reads       int
	closedThere chan struct{}
}

func (m *mortal) Read(b []byte) (int, error) {
	if m.reads--; m.reads < 0 {
		return 0, io.EOF
	}
	n, err := m.Conn.Read(b)
	if err == io.EOF {
		m.closedThere <- struct{}{}
	}
	return n, err
}

const forever = 1 << 30

// serveEcho returns the bare echo as a server that runs already.
func serveEcho(t *testing.T, name string, reads int) (server, *mortals) {
	s := httptest.NewUnstartedServer((&baseline{}).handler(false))
	m := &mortals{s.Listener, reads, make(chan net.Conn, 100), make(chan struct{}, 100)}
	s.Listener = m
	s.Start()
	t.Cleanup(s.Close)
	at := m.Addr().String()
	return server{name: name, addr: at, control: at, pid: os.Getpid()}, m
}

var echoes = &scenario{name: "echoes", load: load{kind: echo, connections: 10, depth: 1, perMessage: 1}}

func TestAServerThatFailsIsLeftOutAndOthersAreNot(t *testing.T) {
	with(t, window, 300*time.Millisecond)
	with(t, rounds, 2)
	failing, _ := serveEcho(t, "failing", 20)
	good, _ := serveEcho(t, "good", forever)
	all, err := measureBlock([]*scenario{echoes}, []server{failing, {name: "dead", addr: "127.0.0.1:1"}, good})
	require.ErrorContains(t, err, "echoes, failing: it has closed 10 of 10 connections")
	require.ErrorContains(t, err, "echoes, dead: connection refused")
	require.Len(t, all, 1)
	require.Nil(t, all[0].of("failing"))
	require.Nil(t, all[0].of("dead"))
	require.Len(t, all[0].of("good").Rounds, 2)
	require.Equal(t, []string{
		"failing (it has failed in round 1: it has closed 10 of 10 connections)", "dead (it has failed in round 1: connection refused)",
	}, all[0].LeftOut)
}

func TestAServerThatDoesNotAnswerHoldsNothingUp(t *testing.T) {
	with(t, &patience, 50*time.Millisecond)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = measure(&server{name: "silent", addr: l.Addr().String()}, echoes.load, 0)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	conn, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = io.Copy(io.Discard, conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is closed")
}

func TestConnectionsThatTheServerClosesWhileTheyDoNothingAreSeen(t *testing.T) {
	s, accepted := serveEcho(t, "peer", forever)
	g := &generator{server: &s, load: load{kind: idle, connections: 3}}
	defer g.close()
	require.NoError(t, g.connect())
	require.Zero(t, g.closed())
	for range 2 {
		require.NoError(t, (<-accepted.conns).Close())
	}
	require.Eventually(t, func() bool { return g.closed() == 2 }, 10*time.Second, time.Millisecond)
}

func TestClientsThatCannotBeginLeaveNoConnections(t *testing.T) {
	s, accepted := serveEcho(t, "peer", forever)
	_, err := measure(&s, load{kind: each, connections: 1}, 0)
	require.ErrorContains(t, err, "id: ", "the bare echo has no method that tells ids")
	select {
	case <-accepted.closedThere:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection is still there")
	}
}
