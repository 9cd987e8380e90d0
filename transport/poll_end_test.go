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
	s := newTestServer(t, testConfig{})
	c := s.connectPolling(nil)
	s.sendAll(t, 1)
	c.mustPost(invocationJSON("", "Abort"))
	require.NoError(t, s.requireDisconnected())
	require.Equal(t, invocation("n", 1)+separator+`{"type":7}`+separator, c.poll().requirePolled(t))
	c.poll().requireClosed(t)
	c.poll().requireText(t, http.StatusNotFound, "No Connection with that ID")
	c.post("x").requireText(t, http.StatusNotFound, "No Connection with that ID")
	c.delete().requireText(t, http.StatusNotFound, "No Connection with that ID")

	c = s.connectPolling(nil)
	waitingPoll, _ := c.pollInBackground()
	c.mustPost(invocationJSON("", "Abort"))
	require.Equal(t, `{"type":7}`+separator, receive(t, waitingPoll).requirePolled(t))
	c.poll().requireClosed(t)
	require.NoError(t, s.requireDisconnected())
}

func TestAFailedHandshakeOverPolling(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	c.startPolling()
	waitingPoll, _ := c.pollInBackground()
	c.mustPost(`{"protocol":"x","version":1}` + separator)
	require.Equal(t, `{"error":"The protocol 'x' is not supported."}`+separator, receive(t, waitingPoll).requirePolled(t))
	c.poll().requireClosed(t)
	c.poll().requireText(t, http.StatusNotFound, "No Connection with that ID")
}

func TestBinaryOverPolling(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	c.startPolling()
	c.mustPost(`{"protocol":"messagepack","version":1}` + separator + "\x0a\x95\x01\x80\xa11\xa3Who\x90")
	want, all := "{}"+separator+"\x07\x95\x03\x80\xa11\x03\xa0", ""
	for len(all) < len(want) {
		all += c.poll().requirePolled(t)
	}
	require.Equal(t, want, all)
}

func TestDeleteWhileAPollWaits(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.connectPolling(nil)
		waitingPoll, _ := c.pollInBackground()
		c.delete().requireText(t, http.StatusAccepted, "")
		require.Equal(t, `{"type":7,"allowReconnect":true}`+separator, receive(t, waitingPoll).requirePolled(t))
		require.NoError(t, s.requireDisconnected())
		c.delete().requireText(t, http.StatusNotFound, "No Connection with that ID")
		c.poll().requireText(t, http.StatusNotFound, "No Connection with that ID")
		c.post("x").requireText(t, http.StatusNotFound, "No Connection with that ID")
	})
}

func TestDeleteBetweenPolls(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.connectPolling(nil)
	s.sendAll(t, 1)
	c.delete().requireText(t, http.StatusAccepted, "")
	require.NoError(t, s.requireDisconnected())
	c.poll().requireText(t, http.StatusNotFound, "No Connection with that ID")
	c.delete().requireText(t, http.StatusNotFound, "No Connection with that ID")
}

func TestDeleteBeforeTheFirstPoll(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	c.delete().requireText(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	c.mustPost(handshakeJSON)
	c.delete().requireText(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	c.startPolling() // the connection still works
	c.requireMessages("{}")
}

// Before the handshake, a DELETE sends no close message.
func TestDeleteBeforeTheHandshake(t *testing.T) {
	for _, said := range []string{"", `{"protocol":`} {
		t.Run(said, func(t *testing.T) {
			s := newTestServer(t, testConfig{})
			c := s.negotiate(nil)
			c.startPolling()
			waitingPoll, _ := c.pollInBackground()
			c.mustPost(said)
			c.delete().requireText(t, http.StatusAccepted, "")
			receive(t, waitingPoll).requireClosed(t)
			require.Empty(t, s.disconnected)
		})
	}
}

func TestDeleteInTheMiddleOfAMessage(t *testing.T) {
	s := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{EnableDetailedErrors: true}})
	c := s.connectPolling(nil)
	waitingPoll, _ := c.pollInBackground()
	c.mustPost(`{"type":1,`)
	c.delete().requireText(t, http.StatusAccepted, "")
	body := receive(t, waitingPoll).requirePolled(t)
	require.Contains(t, body, "Connection terminated while reading a message.")
	require.Contains(t, body, `"allowReconnect":true`)
	require.ErrorContains(t, s.requireDisconnected(), "Connection terminated while reading a message.")
}

func TestDeleteTwiceAtOnce(t *testing.T) {
	s := newTestServer(t, testConfig{})
	for range 50 {
		c := s.connectPolling(nil)
		waitingPoll, _ := c.pollInBackground()
		removed := make(chan httpResult, 4)
		for range cap(removed) {
			go func() { removed <- c.doContext(context.Background(), http.MethodDelete, c.path(), nil, nil) }()
		}
		statuses := map[int]int{}
		for range cap(removed) {
			statuses[receive(t, removed).status]++
		}
		require.GreaterOrEqual(t, statuses[http.StatusAccepted], 1)
		require.Equal(t, cap(removed), statuses[http.StatusAccepted]+statuses[http.StatusNotFound])
		require.Equal(t, `{"type":7,"allowReconnect":true}`+separator, receive(t, waitingPoll).requirePolled(t))
		require.NoError(t, s.requireDisconnected())
	}
}

func TestShutdownReleasesPolls(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2, unopened: 1})
		other := s.negotiate(nil)
		waiting, between := s.connectPolling(nil), s.connectPolling(nil)
		waitingPoll, _ := waiting.pollInBackground()
		s.sendAll(t, 1)
		require.Equal(t, invocation("n", 1)+separator, receive(t, waitingPoll).requirePolled(t))
		waitingPoll, _ = waiting.pollInBackground()
		s.isShutdown = true
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		down := make(chan error, 1)
		go func() { down <- s.sys.Shutdown(ctx) }()
		require.Equal(t, `{"type":7,"allowReconnect":true}`+separator, receive(t, waitingPoll).requirePolled(t))
		waiting.poll().requireClosed(t)
		got := between.poll().requirePolled(t)
		if !strings.Contains(got, `"type":7`) { // the message came before the close message
			got += between.poll().requirePolled(t)
		}
		require.Equal(t, invocation("n", 1)+separator+`{"type":7,"allowReconnect":true}`+separator, got)
		between.poll().requireClosed(t)
		require.NoError(t, receive(t, down))
		require.NoError(t, s.requireDisconnected())
		require.NoError(t, s.requireDisconnected())
		other.poll().requireText(t, http.StatusServiceUnavailable, "The server is shutting down.")
	})
}

func TestShutdownAndAClientThatDoesNotPollAgain(t *testing.T) {
	s := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: time.Second}})
	s.connectPolling(nil)
	require.NoError(t, s.sys.Shutdown(t.Context()))
	require.NoError(t, s.requireDisconnected())
	require.Zero(t, s.connectionCount())
}

// A waiting poll is answered when its connection is cut.
func TestAWaitingPollIsAnsweredWhenItsConnectionIsCut(t *testing.T) {
	requireNoLeaks(t)
	e := newTestEndpoint(t)
	session, links := newTestSession(), make(chan link.Transport, 1)
	e.accept = func(l link.Transport) (hubSession, error) {
		links <- l
		return session, nil
	}
	s := &testServer{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.Connect(&fetchRecorder{w, s}, r)
	}))
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	token := e.negotiate(t)
	poll := func() (int, error) {
		response, err := client.Get(server.URL + "/test?id=" + token) // on a new connection, because http.Transport would retry on a reused one
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
	require.Eventually(t, func() bool { return s.fetches.Load() > 0 }, testTimeout, time.Millisecond)
	receive(t, links).Cut()
	require.NoError(t, receive(t, done))
	require.NoError(t, receive(t, session.ended))
}

// If the first poll is refused, requests that wait for it are answered.
func TestWaitingRequestsAreAnsweredWhenTheFirstPollIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestEndpoint(t)
		proceed := make(chan struct{})
		e.accept = func(link.Transport) (hubSession, error) {
			<-proceed
			return nil, hubsys.ErrShutdown
		}
		token := e.negotiate(t)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var recorders []*httptest.ResponseRecorder
		var all []chan struct{}
		for _, method := range []string{http.MethodGet, http.MethodGet, http.MethodDelete} {
			w := httptest.NewRecorder()
			recorders = append(recorders, w)
			all = append(all, e.serve(ctx, w, method, token, nil, nil))
			synctest.Wait()
		}
		close(proceed)
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

// Of many concurrent polls of one connection, only one waits.
func TestManyPollsWithOneToken(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.connectPolling(nil)
		const n = 100
		done := make(chan httpResult, n)
		for range n {
			go func() { done <- c.doContext(t.Context(), http.MethodGet, c.path(), nil, nil) }()
		}
		for range n - 1 {
			receive(t, done).requireClosed(t)
		}
		s.sendAll(t, 1)
		require.Equal(t, invocation("n", 1)+separator, receive(t, done).requirePolled(t))
		c.delete()
		require.NoError(t, s.requireDisconnected())
	})
}
