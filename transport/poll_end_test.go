package transport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/link"
)

func TestTheServerEndsAConnectionThatPolls(t *testing.T) {
	s := newStage(t, scene{})
	g := s.visit(nil)
	s.send(t, 1)
	g.say(call("", "Abort"))
	require.NoError(t, s.disconnected())
	require.Equal(t, told("n", 1)+separator+`{"type":7}`+separator, g.poll().data(t))
	g.poll().over(t)
	g.poll().is(t, http.StatusNotFound, "No Connection with that ID")
	g.post("x").is(t, http.StatusNotFound, "No Connection with that ID")
	g.remove().is(t, http.StatusNotFound, "No Connection with that ID")

	g = s.visit(nil)
	waits, _ := g.polling()
	g.say(call("", "Abort"))
	require.Equal(t, `{"type":7}`+separator, get(t, waits).data(t))
	g.poll().over(t)
	require.NoError(t, s.disconnected())
}

func TestAHandshakeThatFailsOverPolling(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	g.begin()
	waits, _ := g.polling()
	g.say(`{"protocol":"x","version":1}` + separator)
	require.Equal(t, `{"error":"The protocol 'x' is not supported."}`+separator, get(t, waits).data(t))
	g.poll().over(t)
	g.poll().is(t, http.StatusNotFound, "No Connection with that ID")
}

func TestBinaryOverPolling(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	g.begin()
	g.say(`{"protocol":"messagepack","version":1}` + separator + "\x0a\x95\x01\x80\xa11\xa3Who\x90")
	want, all := "{}"+separator+"\x07\x95\x03\x80\xa11\x03\xa0", ""
	for len(all) < len(want) {
		all += g.poll().data(t)
	}
	require.Equal(t, want, all)
}

func TestDeleteWhileAPollWaits(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.visit(nil)
		waits, _ := g.polling()
		g.remove().is(t, http.StatusAccepted, "")
		require.Equal(t, `{"type":7,"allowReconnect":true}`+separator, get(t, waits).data(t))
		require.NoError(t, s.disconnected())
		g.remove().is(t, http.StatusNotFound, "No Connection with that ID")
		g.poll().is(t, http.StatusNotFound, "No Connection with that ID")
		g.post("x").is(t, http.StatusNotFound, "No Connection with that ID")
	})
}

func TestDeleteBetweenPolls(t *testing.T) {
	s := newStage(t, scene{})
	g := s.visit(nil)
	s.send(t, 1)
	g.remove().is(t, http.StatusAccepted, "")
	require.NoError(t, s.disconnected())
	g.poll().is(t, http.StatusNotFound, "No Connection with that ID")
	g.remove().is(t, http.StatusNotFound, "No Connection with that ID")
}

func TestDeleteBeforeTheFirstPoll(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	g.remove().is(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	g.say(greeting)
	g.remove().is(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	g.begin() // it has not suffered
	g.got("{}")
}

// Before the handshake there is nothing to be said.
func TestDeleteBeforeTheHandshake(t *testing.T) {
	for _, said := range []string{"", `{"protocol":`} {
		t.Run(said, func(t *testing.T) {
			s := newStage(t, scene{})
			g := s.negotiate(nil)
			g.begin()
			waits, _ := g.polling()
			g.say(said)
			g.remove().is(t, http.StatusAccepted, "")
			get(t, waits).over(t)
			require.Empty(t, s.gone)
		})
	}
}

func TestDeleteInTheMiddleOfAMessage(t *testing.T) {
	s := newStage(t, scene{HubOptions: hubsys.HubOptions{EnableDetailedErrors: true}})
	g := s.visit(nil)
	waits, _ := g.polling()
	g.say(`{"type":1,`)
	g.remove().is(t, http.StatusAccepted, "")
	body := get(t, waits).data(t)
	require.Contains(t, body, "Connection terminated while reading a message.")
	require.Contains(t, body, `"allowReconnect":true`)
	require.ErrorContains(t, s.disconnected(), "Connection terminated while reading a message.")
}

func TestDeleteTwiceAtOnce(t *testing.T) {
	s := newStage(t, scene{})
	for range 50 {
		g := s.visit(nil)
		waits, _ := g.polling()
		removed := make(chan answer, 4)
		for range cap(removed) {
			go func() { removed <- g.try(context.Background(), http.MethodDelete, g.path(), nil, nil) }()
		}
		statuses := map[int]int{}
		for range cap(removed) {
			statuses[get(t, removed).status]++
		}
		require.GreaterOrEqual(t, statuses[http.StatusAccepted], 1)
		require.Equal(t, cap(removed), statuses[http.StatusAccepted]+statuses[http.StatusNotFound])
		require.Equal(t, `{"type":7,"allowReconnect":true}`+separator, get(t, waits).data(t))
		require.NoError(t, s.disconnected())
	}
}

func TestShutdownReleasesPolls(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2, left: 1})
		other := s.negotiate(nil)
		waiting, between := s.visit(nil), s.visit(nil)
		waits, _ := waiting.polling()
		s.send(t, 1)
		require.Equal(t, told("n", 1)+separator, get(t, waits).data(t))
		waits, _ = waiting.polling()
		s.stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		down := make(chan error, 1)
		go func() { down <- s.sys.Shutdown(ctx) }()
		require.Equal(t, `{"type":7,"allowReconnect":true}`+separator, get(t, waits).data(t))
		waiting.poll().over(t)
		got := between.poll().data(t)
		if !strings.Contains(got, `"type":7`) { // it was early
			got += between.poll().data(t)
		}
		require.Equal(t, told("n", 1)+separator+`{"type":7,"allowReconnect":true}`+separator, got)
		between.poll().over(t)
		require.NoError(t, get(t, down))
		require.NoError(t, s.disconnected())
		require.NoError(t, s.disconnected())
		other.poll().is(t, http.StatusServiceUnavailable, "The server is shutting down.")
	})
}

func TestShutdownAndAClientThatDoesNotPollAgain(t *testing.T) {
	s := newStage(t, scene{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: time.Second}})
	s.visit(nil)
	require.NoError(t, s.sys.Shutdown(t.Context()))
	require.NoError(t, s.disconnected())
	require.Zero(t, s.reservations())
}

// A poll that waits when its connection is cut is told so.
func TestAPollThatIsCut(t *testing.T) {
	noLeaks(t)
	d := newDoor(t)
	session, links := newScript(), make(chan link.Transport, 1)
	d.accept = func(l link.Transport) (anySession, error) {
		links <- l
		return session, nil
	}
	s := &stage{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.Connect(&watch{w, s}, r)
	}))
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	token := d.negotiate(t)
	poll := func() (int, error) {
		response, err := client.Get(server.URL + "/door?id=" + token) // on a connection of its own: it would be repeated on one that was used
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, err
	}
	status, err := poll()
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	done := make(chan error, 1)
	go func() {
		status, err := poll()
		if err == nil && status != http.StatusNoContent {
			err = fmt.Errorf("status %d", status)
		}
		done <- err
	}()
	require.Eventually(t, func() bool { return s.began.Load() > 0 }, within, time.Millisecond)
	get(t, links).Cut()
	require.NoError(t, get(t, done))
	require.NoError(t, get(t, session.ended))
}

// A first poll that is not let in lets nobody wait.
func TestPollsWhileTheFirstOneIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t)
		gate := make(chan struct{})
		d.accept = func(link.Transport) (anySession, error) {
			<-gate
			return nil, hubsys.ErrShutdown
		}
		token := d.negotiate(t)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var recorders []*httptest.ResponseRecorder
		var all []chan struct{}
		for _, method := range []string{http.MethodGet, http.MethodGet, http.MethodDelete} {
			w := httptest.NewRecorder()
			recorders = append(recorders, w)
			all = append(all, d.knock(ctx, w, method, token, nil, nil))
			synctest.Wait()
		}
		close(gate)
		synctest.Wait()
		for i, done := range all {
			select {
			case <-done:
			default:
				assert.Failf(t, "a request is not answered", "number %d", i)
			}
		}
		require.Equal(t, http.StatusServiceUnavailable, recorders[0].Code)
		if !t.Failed() {
			require.NotEqual(t, http.StatusOK, recorders[1].Code)
		}
	})
}

// However many poll with one token, one of them waits.
func TestManyPollsWithOneToken(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.visit(nil)
		const n = 100
		done := make(chan answer, n)
		for range n {
			go func() { done <- g.try(t.Context(), http.MethodGet, g.path(), nil, nil) }()
		}
		for range n - 1 {
			get(t, done).over(t)
		}
		s.send(t, 1)
		require.Equal(t, told("n", 1)+separator, get(t, done).data(t))
		g.remove()
		require.NoError(t, s.disconnected())
	})
}
