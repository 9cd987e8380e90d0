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

// Origins decides which web pages may connect: by CORS, and for WebSockets, which browsers do not guard, by itself.
//
// A request without an Origin header does not come from a page and passes: this is no authentication. One from the server's own
// origin passes, one from an allowed origin passes, all others do not. Unless credentials are allowed, what browsers send by themselves
// with requests of pages from other origins is not seen.
type Origins struct {
	any         bool
	allowed     map[string]bool
	credentials bool
	cors        *cors.Cors // nil: no other origin is allowed
}

// AnyOrigin allows pages from everywhere.
const AnyOrigin = "*"

// NewOrigins reports every origin that is wrong.
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

// options are what browsers are told (CORS): the headers of the official clients and whatever else a page sends, for as long as
// browsers believe it without asking again.
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

// guard answers preflights, lets browsers see the answers to pages of allowed origins, and hides the credentials that nobody shall see.
func (o *Origins) guard(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	r = o.hideCredentials(r)
	if o.cors == nil {
		next(w, r)
		return
	}
	o.cors.ServeHTTP(w, r, next)
}

// normalOrigin is the form in which browsers send an origin: lower case, without the scheme's own port.
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

// judge tells whether the page that makes a request is one of this server, and whether its origin is on the list. Which scheme the page
// has seen is not known behind a proxy, so the host decides about the former.
func (o *Origins) judge(header string, r *http.Request) (own, listed bool) {
	origin, err := url.Parse(header)
	if err != nil || origin.Host == "" {
		return false, false // "null": a sandboxed page, or a file
	}
	normal := normalOrigin(origin)
	return normal == normalOrigin(&url.URL{Scheme: origin.Scheme, Host: r.Host}), o.allowed[normal]
}

// allows tells whether the page that makes a request may connect.
func (o *Origins) allows(r *http.Request) bool {
	header := r.Header.Get("Origin")
	if header == "" {
		return true
	}
	own, listed := o.judge(header, r)
	return own || listed || o.any
}

// hideCredentials hides what a browser sends by itself with a request of a page of another origin, unless that is on the list and
// credentials are allowed: cookies, passwords, certificates. A bearer token was sent by the page, and stays.
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
