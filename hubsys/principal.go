package hubsys

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/transport"
)

// Principal is who makes a request, as [EndpointOptions].Authenticate says. It is shared by all calls of a connection, and must not be changed.
type Principal struct {
	// UserID is the user identifier, by which Clients.User finds the connections of a user. Empty: none. It is compared byte by byte.
	UserID string
	// Roles are the roles of the user, for [RequireRole].
	Roles []string
	// Claims are what a token says of the user.
	Claims map[string]any
	// Value is the application's own: its user record, its session, its tenant.
	Value any
	// Expires is when the credentials expire. The connection is then closed so that its client reconnects, unless the credentials have been
	// refreshed, or [EndpointOptions].IgnoreExpiration is set. It is checked once a second. Zero: never.
	Expires time.Time
}

// anonymous is shared by all requests without a principal of their own.
var anonymous = &Principal{}

// Authenticated reports whether the principal is one that Authenticate has returned. It returns false for nil, and for the principal of
// anonymous users.
func (p *Principal) Authenticated() bool { return p != nil && p != anonymous }

// HasRole reports whether the user has a role. It returns false for nil.
func (p *Principal) HasRole(role string) bool { return p != nil && slices.Contains(p.Roles, role) }

// BearerToken returns the bearer token of a request: from the header Authorization, or, for WebSockets and event streams alone, from the query
// value access_token, because browsers cannot set headers of these. It returns an empty string if there is none.
func BearerToken(r *http.Request) string {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(token)
		}
		return ""
	}
	if transport.CannotSetHeaders(r) {
		token, _ := transport.QueryValue(r.URL.RawQuery, "access_token")
		return token
	}
	return ""
}
