package transport

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rs/cors"
)

// Origins decides which web pages may connect: by CORS, and by itself for WebSockets, to which browsers do not apply CORS.
//
// A request without an Origin header does not come from a page and is allowed: this is no authentication. Requests from the server's own
// origin and from listed origins are allowed, all others are not. Unless credentials are allowed, those that browsers send by themselves
// with requests of pages from other origins are hidden.
type Origins struct {
	any         bool
	allowed     map[string]bool
	credentials bool
	cors        *cors.Cors // nil: no other origin is allowed
}

// AnyOrigin stands for every origin.
const AnyOrigin = "*"

// NewOrigins makes a list of origins. It reports every origin that is wrong.
func NewOrigins(allowed []string, credentials bool) (*Origins, error) {
	o := &Origins{allowed: map[string]bool{}, credentials: credentials}
	var faults []error
	for _, origin := range allowed {
		if origin == AnyOrigin {
			o.any = true
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Contains(u.Host, "*") {
			faults = append(faults, fmt.Errorf("origin %q is not of the form scheme://host or scheme://host:port", origin))
			continue
		}
		o.allowed[normalOrigin(u)] = true
	}
	if o.any && credentials {
		faults = append(faults, errors.New(`origin "*" cannot be allowed together with credentials: every web page could act as its visitor`))
	}
	if len(allowed) > 0 {
		o.cors = cors.New(o.options())
	}
	return o, errors.Join(faults...)
}

// options are the answers to preflights: all headers are allowed, for as long as browsers cache an answer.
func (o *Origins) options() cors.Options {
	options := cors.Options{
		AllowedMethods:   []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowedHeaders:   []string{"*"},
		AllowCredentials: o.credentials,
		MaxAge:           int((2 * time.Hour).Seconds()),
	}
	if o.any {
		options.AllowedOrigins = []string{AnyOrigin}
	} else {
		options.AllowOriginFunc = func(origin string) bool {
			u, err := url.Parse(origin)
			return err == nil && o.allowed[normalOrigin(u)]
		}
	}
	return options
}

// guard answers preflights, sets the headers of CORS for pages of allowed origins, and hides credentials that are not allowed.
func (o *Origins) guard(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	r = o.hideCredentials(r)
	if o.cors == nil {
		next(w, r)
		return
	}
	o.cors.ServeHTTP(w, r, next)
}

// normalOrigin returns an origin in the form in which browsers send it: lower case, without the default port of its scheme.
func normalOrigin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "http", "ws":
		host = strings.TrimSuffix(host, ":80")
	case "https", "wss":
		host = strings.TrimSuffix(host, ":443")
	}
	return scheme + "://" + host
}

// judge reports whether the page that makes a request is one of this server, and whether its origin is listed. Behind a proxy the scheme of the
// page is not known, so only the hosts are compared for the former.
func (o *Origins) judge(header string, r *http.Request) (own, listed bool) {
	origin, err := url.Parse(header)
	if err != nil || origin.Host == "" {
		return false, false // "null": a sandboxed page, or a file
	}
	normal := normalOrigin(origin)
	return normal == normalOrigin(&url.URL{Scheme: origin.Scheme, Host: r.Host}), o.allowed[normal]
}

// allows reports whether the page that makes a request may connect.
func (o *Origins) allows(r *http.Request) bool {
	header := r.Header.Get("Origin")
	if header == "" {
		return true
	}
	own, listed := o.judge(header, r)
	return own || listed || o.any
}

// hideCredentials hides what a browser sends by itself with a request of a page of another origin (cookies, passwords, certificates), unless
// the origin is listed and credentials are allowed. A bearer token is not hidden, because the page has sent it.
func (o *Origins) hideCredentials(r *http.Request) *http.Request {
	header := r.Header.Get("Origin")
	if header == "" || r.Header.Get("Cookie") == "" && r.Header.Get("Authorization") == "" && (r.TLS == nil || len(r.TLS.PeerCertificates) == 0) {
		return r
	}
	if own, listed := o.judge(header, r); own || listed && o.credentials {
		return r
	}
	hidden := r.Clone(r.Context())
	hidden.Header.Del("Cookie")
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); !strings.EqualFold(scheme, "Bearer") {
		hidden.Header.Del("Authorization")
	}
	if r.TLS != nil {
		state := *r.TLS
		state.PeerCertificates, state.VerifiedChains = nil, nil
		hidden.TLS = &state
	}
	return hidden
}
