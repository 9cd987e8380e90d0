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
	null        bool
	allowed     map[string]bool
	suffixes    []*url.URL // of patterns: the host begins with a dot
	decide      OriginFunc
	credentials bool
	cors        *cors.Cors // nil: no other origin is allowed
}

// OriginFunc decides whether pages of an origin may make a request.
type OriginFunc func(r *http.Request, origin string) bool

const (
	// AnyOrigin stands for every origin.
	AnyOrigin = "*"
	// NullOrigin is the origin of sandboxed pages and of files, which any page can have.
	NullOrigin = "null"
)

// NewOrigins makes a list of origins, to which decide, unless it is nil, adds others. It reports every origin that is wrong.
func NewOrigins(allowed []string, decide OriginFunc, credentials bool) (*Origins, error) {
	o := &Origins{allowed: map[string]bool{}, decide: decide, credentials: credentials}
	var faults []error
	for _, origin := range allowed {
		if err := o.add(origin); err != nil {
			faults = append(faults, err)
		}
	}
	if o.any && credentials {
		faults = append(faults, errors.New(`origin "*" cannot be allowed together with credentials: every web page could act as its visitor`))
	}
	if o.null && credentials {
		faults = append(faults, errors.New(`origin "null" cannot be allowed together with credentials: every web page can make it its own`))
	}
	if len(allowed) > 0 || decide != nil {
		o.cors = cors.New(o.options())
	}
	return o, errors.Join(faults...)
}

// add adds an origin or a pattern to the list.
func (o *Origins) add(origin string) error {
	switch origin {
	case AnyOrigin:
		o.any = true
		return nil
	case NullOrigin:
		o.null = true
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("origin %q is not of the form scheme://host or scheme://host:port", origin)
	}
	rest, pattern := strings.CutPrefix(u.Host, "*")
	switch {
	case strings.Contains(rest, "*") || pattern && strings.Count(strings.Trim(rest, "."), ".") == 0 || pattern && rest[0] != '.':
		return fmt.Errorf(`origin %q: a wildcard stands for all subdomains of a domain, as in "https://*.example.com"`, origin)
	case pattern:
		o.suffixes = append(o.suffixes, &url.URL{Scheme: u.Scheme, Host: rest})
	default:
		o.allowed[normalOrigin(u)] = true
	}
	return nil
}

// lists reports whether an origin is on the list, or is added to it for a request.
func (o *Origins) lists(r *http.Request, header string, origin *url.URL) bool {
	return header == NullOrigin && o.null || origin != nil && o.contains(origin) || o.decide != nil && o.decide(r, header)
}

// contains reports whether an origin is on the list.
func (o *Origins) contains(origin *url.URL) bool {
	normal := normalOrigin(origin)
	if o.allowed[normal] {
		return true
	}
	scheme, host, _ := strings.Cut(normal, "://")
	for _, suffix := range o.suffixes {
		wantedScheme, wanted, _ := strings.Cut(normalOrigin(suffix), "://")
		if scheme == wantedScheme && strings.HasSuffix(host, wanted) && len(host) > len(wanted) {
			return true
		}
	}
	return false
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
		options.AllowOriginVaryRequestFunc = func(r *http.Request, header string) (bool, []string) {
			if header == "" { // no page's
				return false, nil
			}
			_, listed := o.judge(header, r)
			return listed, nil
		}
	}
	return options
}

// Guard answers preflights, sets the headers of CORS for pages of allowed origins, and hides credentials that are not allowed.
func (o *Origins) Guard(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
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
		return false, o.lists(r, header, nil) // "null": a sandboxed page, or a file
	}
	own = normalOrigin(origin) == normalOrigin(&url.URL{Scheme: origin.Scheme, Host: r.Host})
	return own, o.contains(origin) || !own && o.lists(r, header, origin)
}

// Allows reports whether the page that makes a request may connect.
func (o *Origins) Allows(r *http.Request) bool {
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
	if own, listed := o.judge(header, r); own || listed && o.credentials && header != NullOrigin {
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
