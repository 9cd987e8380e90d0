package transport

import (
	"errors"
	"math"
	"net/http"
	"strings"
	"time"
)

// Refreshed returns the user that a connection belongs to at the moment, and when the credentials expire; zero: never.
type Refreshed func() (userID string, expires time.Time)

// Errors of Acceptor.Refresh.
var (
	ErrNotOpen         = errors.New("the connection is not open")
	ErrUserChanged     = errors.New("the credentials are those of another user")
	ErrRefreshRejected = errors.New("the credentials were rejected")
)

// RefreshCredentials answers POST {endpoint}/refresh (docs/protocol.md, 8).
func (e *Endpoint) RefreshCredentials(w http.ResponseWriter, r *http.Request) {
	e.guard(w, r, e.refresh)
}

func (e *Endpoint) refresh(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Method, http.MethodPost) {
		plain(w, http.StatusMethodNotAllowed, "")
		return
	}
	if !discardBody(w, r) {
		w.Header().Set("Connection", "close")
		refreshFailed(w, http.StatusBadRequest, "invalid_request")
		return
	}
	who, err := e.Acceptor.Authenticate(r)
	if err != nil {
		e.refuseRefresh(w, r, err, http.StatusUnauthorized, "invalid_token")
		return
	}
	given, reserved := e.named(r)
	switch {
	case !given:
		refreshFailed(w, http.StatusBadRequest, "missing_connection_token")
	case reserved == nil:
		refreshFailed(w, http.StatusNotFound, "connection_not_found")
	case reserved.id == reserved.token: // of version 0 of the negotiation
		refreshFailed(w, http.StatusBadRequest, "unsupported_negotiate_version")
	default:
		now, err := e.Acceptor.Refresh(r, reserved.id, who)
		if err != nil {
			e.refuseRefresh(w, r, err, http.StatusInternalServerError, "server_error")
			return
		}
		answerRefresh(w, e.Tokens.setUser(reserved, now))
	}
}

// answerRefresh says for how long the credentials hold.
func answerRefresh(w http.ResponseWriter, expires time.Time) {
	body := map[string]*int64{}
	if !expires.IsZero() {
		body["tokenLifetimeSeconds"] = lifetime(expires)
	}
	answer(w, http.StatusOK, body)
}

// lifetime returns for how many seconds credentials are valid.
func lifetime(expires time.Time) *int64 {
	seconds := int64(min(max(0, time.Until(expires)/time.Second), math.MaxInt32))
	return &seconds
}

// refuseRefresh answers with what is wrong, or with status and code if the error does not say.
func (e *Endpoint) refuseRefresh(w http.ResponseWriter, r *http.Request, err error, status int, code string) {
	var refusal *Refusal
	switch {
	case errors.Is(err, ErrNotOpen):
		status, code = http.StatusNotFound, "connection_not_found"
	case errors.Is(err, ErrUserChanged):
		status, code = http.StatusForbidden, "user_changed"
	case errors.Is(err, ErrRefreshRejected):
		status, code = http.StatusForbidden, "permission_change_rejected"
	case errors.As(err, &refusal) && refusal.Status == http.StatusForbidden:
		status, code = http.StatusForbidden, "permission_change_rejected"
	case errors.As(err, &refusal) && refusal.Status == http.StatusInternalServerError:
		status, code = http.StatusInternalServerError, "server_error"
	}
	e.logRefusal(r, status, err)
	refreshFailed(w, status, code)
}

// refreshFailed answers with the code of an error.
func refreshFailed(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]string{"error": code})
}
