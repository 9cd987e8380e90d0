package main

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// token is the bearer token of a request, from the header or, whatever the kind of request, from the query.
func token(r *http.Request) string {
	token, ok := strings.CutPrefix(strings.Join(r.Header.Values("Authorization"), ","), "Bearer ")
	if !ok {
		token = orEmpty(joined(r.URL.Query(), "access_token"))
	}
	return token
}

// authenticate takes "name" or "name:role" as a token. Who has a token is somebody, even without a name.
func authenticate(r *http.Request) (*hubsys.Principal, error) {
	principal, _ := principalOf(token(r))
	return principal, nil
}

// principalOf returns who has a token, or nil if there is none, and what is behind the role.
func principalOf(token string) (principal *hubsys.Principal, rest []string) {
	if token == "" {
		return nil, nil
	}
	parts := strings.Split(token, ":")
	principal = &hubsys.Principal{UserID: parts[0]}
	if len(parts) > 1 {
		principal.Roles, rest = parts[1:2], parts[2:]
	}
	return principal, rest
}

// authenticateForATime takes "name:role:time" as well: a token that is good until then, in milliseconds since 1970. The reference's program
// has nothing like it.
func authenticateForATime(r *http.Request) (*hubsys.Principal, error) {
	principal, rest := principalOf(token(r))
	if len(rest) == 0 {
		return principal, nil
	}
	expires, err := strconv.ParseInt(rest[0], 10, 64)
	if err != nil {
		return nil, err
	}
	principal.Expires = time.UnixMilli(expires)
	if time.Now().After(principal.Expires) {
		return nil, errors.New("the token has expired")
	}
	return principal, nil
}
