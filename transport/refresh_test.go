package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/transport"
)

// refreshEndpoint is an endpoint whose users come from the header User, and whose refreshes are answered by the test.
type refreshEndpoint struct {
	*testEndpoint
	answer func(r *http.Request, id string, who transport.Identity) (transport.Refreshed, error)
}

func newRefreshEndpoint(t testing.TB) *refreshEndpoint {
	e := &refreshEndpoint{testEndpoint: newTestEndpoint(t)}
	e.testEndpoint.authenticate = func(r *http.Request) (transport.Identity, error) {
		switch r.Header.Get("Refuse") {
		case "":
			return transport.Identity{UserID: r.Header.Get("User")}, nil
		case "403":
			return transport.Identity{}, &transport.Refusal{Status: http.StatusForbidden, Err: errUnauthenticated}
		case "500":
			return transport.Identity{}, &transport.Refusal{Status: http.StatusInternalServerError, Err: errUnauthenticated}
		}
		return transport.Identity{}, errUnauthenticated
	}
	e.answer = func(_ *http.Request, _ string, who transport.Identity) (transport.Refreshed, error) {
		return refreshed(who.UserID, time.Time{}), nil
	}
	e.Endpoint.Acceptor = e
	return e
}

// refreshed is the answer of an acceptor.
func refreshed(userID string, expires time.Time) transport.Refreshed {
	return func() (string, time.Time) { return userID, expires }
}

func (e *refreshEndpoint) Refresh(r *http.Request, id string, who transport.Identity) (transport.Refreshed, error) {
	return e.answer(r, id, who)
}

func (e *refreshEndpoint) refresh(method, query, user string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/test/refresh"+query, nil)
	r.Header.Set("User", user)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	e.RefreshCredentials(w, r)
	return w
}

func requireRefreshFailed(t testing.TB, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	body := `{"error":"` + code + `"}`
	require.Equal(t, body, w.Body.String())
	require.Equal(t, status, w.Code, code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, fmt.Sprint(len(body)), w.Header().Get("Content-Length"))
}

func TestRefreshesAreAnsweredByTheirErrors(t *testing.T) {
	e := newRefreshEndpoint(t)
	query := "?id=" + e.negotiate(t)
	for _, test := range []struct {
		err    error
		status int
		code   string
	}{
		{transport.ErrNotOpen, http.StatusNotFound, "connection_not_found"},
		{transport.ErrUserChanged, http.StatusForbidden, "user_changed"},
		{transport.ErrRefreshRejected, http.StatusForbidden, "permission_change_rejected"},
		{errors.Join(transport.ErrRefreshRejected, errors.New("why")), http.StatusForbidden, "permission_change_rejected"},
		{fmt.Errorf("wrapped: %w", transport.ErrUserChanged), http.StatusForbidden, "user_changed"},
		{&transport.Refusal{Status: http.StatusForbidden, Err: errUnauthenticated}, http.StatusForbidden, "permission_change_rejected"},
		{&transport.Refusal{Status: http.StatusInternalServerError, Err: errUnauthenticated}, http.StatusInternalServerError, "server_error"},
		{errors.New("anything else"), http.StatusInternalServerError, "server_error"},
	} {
		e.answer = func(*http.Request, string, transport.Identity) (transport.Refreshed, error) {
			return nil, test.err
		}
		requireRefreshFailed(t, e.refresh(http.MethodPost, query, "", nil), test.status, test.code)
	}
	for refuse, want := range map[string]struct {
		status int
		code   string
	}{
		"401": {http.StatusUnauthorized, "invalid_token"}, "403": {http.StatusForbidden, "permission_change_rejected"}, "500": {http.StatusInternalServerError, "server_error"},
	} {
		e.answer = func(*http.Request, string, transport.Identity) (transport.Refreshed, error) {
			t.Error("a request without credentials has reached the connection")
			return refreshed("", time.Time{}), nil
		}
		requireRefreshFailed(t, e.refresh(http.MethodPost, query, "", http.Header{"Refuse": {refuse}}), want.status, want.code)
	}
}

func TestRequestsThatAreNoRefreshes(t *testing.T) {
	e := newRefreshEndpoint(t)
	query := "?id=" + e.negotiate(t)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, "POSTS"} {
		w := e.refresh(method, query, "", nil)
		require.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		require.Equal(t, "text/plain", w.Header().Get("Content-Type"), method)
		require.Empty(t, w.Body.String(), method)
	}
	require.Equal(t, http.StatusOK, e.refresh("post", query, "", nil).Code, "methods are compared without regard to case, as for a negotiation")
	for _, test := range []struct {
		query  string
		status int
		code   string
	}{
		{"", http.StatusBadRequest, "missing_connection_token"},
		{"?ID=", http.StatusBadRequest, "missing_connection_token"},
		{"?x=" + query[len("?id="):], http.StatusBadRequest, "missing_connection_token"},
		{"?id=%zz", http.StatusNotFound, "connection_not_found"},
		{"?id=unknown", http.StatusNotFound, "connection_not_found"},
		{query + "x", http.StatusNotFound, "connection_not_found"},
		{query + "&id=x", http.StatusNotFound, "connection_not_found"},
	} {
		requireRefreshFailed(t, e.refresh(http.MethodPost, test.query, "", nil), test.status, test.code)
	}
	require.Equal(t, http.StatusOK, e.refresh(http.MethodPost, "?Id="+query[len("?id="):], "", nil).Code)

	w := httptest.NewRecorder()
	e.RefreshCredentials(w, httptest.NewRequest(http.MethodPost, "/test/refresh"+query, io.LimitReader(endless{}, 1<<20)))
	requireRefreshFailed(t, w, http.StatusBadRequest, "invalid_request")
	require.Equal(t, "close", w.Header().Get("Connection"), "what is left of a large body is not read")
	w = httptest.NewRecorder()
	e.RefreshCredentials(w, httptest.NewRequest(http.MethodPost, "/test/refresh"+query, strings.NewReader("ignored")))
	require.Equal(t, http.StatusOK, w.Code)
}

// endless is a body without end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A connection of version 0 has no secret token, and cannot be refreshed.
func TestRefreshOfVersion0(t *testing.T) {
	e := newRefreshEndpoint(t)
	w := httptest.NewRecorder()
	e.Negotiate(w, httptest.NewRequest(http.MethodPost, "/test/negotiate", nil))
	var n struct{ ConnectionID string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	requireRefreshFailed(t, e.refresh(http.MethodPost, "?id="+n.ConnectionID, "", nil), http.StatusBadRequest, "unsupported_negotiate_version")
}

// The connection is told to the Acceptor by its ID, which is not the token that the client has sent.
func TestRefreshNamesTheConnection(t *testing.T) {
	e := newRefreshEndpoint(t)
	w := httptest.NewRecorder()
	e.Negotiate(w, httptest.NewRequest(http.MethodPost, "/test/negotiate?negotiateVersion=1", nil))
	var n struct{ ConnectionID, ConnectionToken string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	var named string
	e.answer = func(_ *http.Request, id string, _ transport.Identity) (transport.Refreshed, error) {
		named = id
		return refreshed("", time.Time{}), nil
	}
	require.Equal(t, http.StatusOK, e.refresh(http.MethodPost, "?id="+n.ConnectionToken, "", nil).Code)
	require.Equal(t, n.ConnectionID, named)
	requireRefreshFailed(t, e.refresh(http.MethodPost, "?id="+n.ConnectionID, "", nil), http.StatusNotFound, "connection_not_found")
}

// The lifetime is a whole number of seconds, which 32 bits hold. Credentials that never expire have none.
func TestLifetimesInAnswersToRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newRefreshEndpoint(t)
		e.Tokens.Expiry = 24 * time.Hour
		query := "?id=" + e.negotiate(t)
		for _, test := range []struct {
			lifetime time.Duration
			body     string
		}{
			{time.Hour, `{"tokenLifetimeSeconds":3600}`},
			{time.Minute - 1, `{"tokenLifetimeSeconds":59}`},
			{time.Second - 1, `{"tokenLifetimeSeconds":0}`},
			{0, `{"tokenLifetimeSeconds":0}`},
			{-time.Hour, `{"tokenLifetimeSeconds":0}`},
			{math.MaxInt32 * time.Second, `{"tokenLifetimeSeconds":2147483647}`},
			{(math.MaxInt32 + 1) * time.Second, `{"tokenLifetimeSeconds":2147483647}`},
			{math.MaxInt64, `{"tokenLifetimeSeconds":2147483647}`},
		} {
			e.answer = func(*http.Request, string, transport.Identity) (transport.Refreshed, error) {
				return refreshed("", time.Now().Add(test.lifetime)), nil
			}
			w := e.refresh(http.MethodPost, query, "", nil)
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, test.body, w.Body.String(), test.lifetime)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Equal(t, fmt.Sprint(len(test.body)), w.Header().Get("Content-Length"))
		}
		e.answer = func(*http.Request, string, transport.Identity) (transport.Refreshed, error) {
			return refreshed("", time.Time{}), nil
		}
		require.Equal(t, "{}", e.refresh(http.MethodPost, query, "", nil).Body.String())
		time.Sleep(e.Tokens.Expiry) // for the timer of the tokens
	})
}

// The connection belongs to the user whom the Acceptor names: its further requests must come from that user. A refresh that fails changes nothing.
func TestARefreshChangesTheUserOfRequests(t *testing.T) {
	e := newRefreshEndpoint(t)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/test/negotiate?negotiateVersion=1", nil)
	r.Header.Set("User", "ada")
	e.Negotiate(w, r)
	var n struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	send := func(user string) int {
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		w := httptest.NewRecorder()
		receive(t, e.serve(ctx, w, http.MethodPost, n.ConnectionToken, userHeader(user), strings.NewReader("x")))
		return w.Code
	}
	w = httptest.NewRecorder()
	receive(t, e.serve(t.Context(), w, http.MethodGet, n.ConnectionToken, userHeader("ada"), nil))
	require.Equal(t, http.StatusOK, w.Code)
	query := "?id=" + n.ConnectionToken
	require.Equal(t, http.StatusOK, send("ada"))
	require.Equal(t, http.StatusForbidden, send("bob"))
	e.answer = func(*http.Request, string, transport.Identity) (transport.Refreshed, error) {
		return refreshed("bob", time.Time{}), transport.ErrUserChanged
	}
	require.Equal(t, http.StatusForbidden, e.refresh(http.MethodPost, query, "bob", nil).Code)
	require.Equal(t, http.StatusOK, send("ada"))
	require.Equal(t, http.StatusForbidden, send("bob"))
	e.answer = func(_ *http.Request, _ string, who transport.Identity) (transport.Refreshed, error) {
		return refreshed(who.UserID, time.Time{}), nil
	}
	require.Equal(t, http.StatusOK, e.refresh(http.MethodPost, query, "bob", nil).Code)
	require.Equal(t, http.StatusForbidden, send("ada"))
	require.Equal(t, http.StatusOK, send("bob"))
}

// What holds for all requests of an endpoint holds for refreshes: its hosts, its limit of headers, and CORS.
func TestRefreshesAreGuarded(t *testing.T) {
	e := newRefreshEndpoint(t)
	var err error
	e.Origins, err = transport.NewOrigins([]string{allowedPage}, nil, false)
	require.NoError(t, err)
	query := "?id=" + e.negotiate(t)
	w := e.refresh(http.MethodPost, query, "", http.Header{"Origin": {allowedPage}})
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, allowedPage, w.Header().Get("Access-Control-Allow-Origin"))
	w = e.refresh(http.MethodOptions, query, "", preflight(allowedPage, http.MethodPost, "authorization"))
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Equal(t, allowedPage, w.Header().Get("Access-Control-Allow-Origin"))
	require.Equal(t, "authorization", w.Header().Get("Access-Control-Allow-Headers"))
	w = e.refresh(http.MethodPost, query, "", http.Header{"Origin": {"https://evil.example"}})
	require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))

	e.Hosts = []string{"other.example"}
	require.Equal(t, http.StatusMisdirectedRequest, e.refresh(http.MethodPost, query, "", nil).Code)
	e.Hosts = nil
	e.RequestLimit = 1000
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, e.refresh(http.MethodPost, query, strings.Repeat("x", 1000), nil).Code)
}

// Of two refreshes at once, the one that is answered last sets the user that the connection has then, whoever has asked for it.
func TestRefreshesThatOvertakeOneAnother(t *testing.T) {
	e := newRefreshEndpoint(t)
	query := "?id=" + e.negotiate(t)
	var user atomic.Value
	set, proceed, done := make(chan struct{}), make(chan struct{}), make(chan int, 1)
	e.answer = func(_ *http.Request, _ string, who transport.Identity) (transport.Refreshed, error) {
		user.Store(who.UserID)
		if who.UserID == "bob" {
			close(set)
			<-proceed
		}
		return func() (string, time.Time) { return user.Load().(string), time.Time{} }, nil
	}
	go func() { done <- e.refresh(http.MethodPost, query, "bob", nil).Code }()
	receive(t, set)
	require.Equal(t, http.StatusOK, e.refresh(http.MethodPost, query, "eve", nil).Code)
	close(proceed)
	require.Equal(t, http.StatusOK, receive(t, done))
	for name, status := range map[string]int{"bob": http.StatusForbidden, "": http.StatusForbidden, "eve": http.StatusOK} {
		w := httptest.NewRecorder()
		receive(t, e.serve(t.Context(), w, http.MethodGet, strings.TrimPrefix(query, "?id="), userHeader(name), nil))
		require.Equal(t, status, w.Code, name)
	}
}
