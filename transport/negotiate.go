package transport

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/internal/metric"
)

// negotiation is the answer to a negotiate request; its fields are in the order of the reference (docs/protocol.md, 1.3).
type negotiation struct {
	Resumable  bool    `json:"useStatefulReconnect,omitempty"`
	Version    int     `json:"negotiateVersion"`
	ID         string  `json:"connectionId"`
	Token      string  `json:"connectionToken,omitempty"`
	Lifetime   *int64  `json:"tokenLifetimeSeconds,omitempty"`
	Transports []offer `json:"availableTransports"`
}

// offer is a transport, and the formats that it can carry.
type offer struct {
	Transport string   `json:"transport"`
	Formats   []string `json:"transferFormats"`
}

// newestNegotiation is the newest supported version of the negotiation. Clients that ask for a newer one get this one.
const newestNegotiation = 1

func (e *Endpoint) negotiate(w http.ResponseWriter, r *http.Request, who Identity) {
	version, failure := requestedVersion(r)
	if failure != "" {
		answer(w, http.StatusOK, map[string]string{"error": failure})
		return
	}
	reserved := e.Tokens.reserve(e, who.UserID, r.RemoteAddr, version == 0)
	if reserved == nil {
		e.Limits.Reach(metric.PendingOfAddress)
		e.logOnce("a negotiation was refused: too many connections that were negotiated from its address wait for their transport", AddressOf(r.RemoteAddr), r)
		w.Header().Set("Retry-After", strconv.Itoa(int(e.Tokens.Expiry/time.Second)))
		plain(w, http.StatusTooManyRequests, fmt.Sprintf("At most %d connections that were negotiated from one address can wait for their transport.", e.Tokens.AddressLimit))
		return
	}
	reserved.resumable = e.Resumes && wantsResume(r)
	n := negotiation{Resumable: reserved.resumable, Version: version, ID: reserved.id, Transports: e.Transports.offers()}
	if version > 0 {
		n.Token = reserved.token
	}
	if e.Refreshes && !who.Expires.IsZero() {
		n.Lifetime = lifetime(who.Expires)
	}
	answer(w, http.StatusOK, n)
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if status != http.StatusOK { // which is net/http's own
		w.WriteHeader(status)
	}
	_, _ = w.Write(text)
}

// requestedVersion returns the version to use, or the text of an error (docs/protocol.md, 1.2, 1.4).
func requestedVersion(r *http.Request) (version int, failure string) {
	value, count := QueryValue(r.URL.RawQuery, "negotiateVersion")
	if count == 0 {
		return 0, ""
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil || count > 1 {
		return 0, "The client requested a non-integer protocol version."
	}
	if n < 0 {
		return 0, "The client requested version '" + strconv.FormatInt(n, 10) + "', but the server does not support this version."
	}
	return min(int(n), newestNegotiation), ""
}

// wantsResume reports whether a client asks for a connection that survives the loss of its WebSocket (docs/protocol.md, 1.2).
func wantsResume(r *http.Request) bool {
	value, count := QueryValue(r.URL.RawQuery, "useStatefulReconnect")
	return count == 1 && strings.EqualFold(strings.TrimSpace(value), "true")
}
