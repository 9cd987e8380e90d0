package hubsys

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/troupe-go/troupe/transport"
)

// Request is what is kept of the HTTP request that has opened a connection. It is immutable. Headers that say nothing about the client except
// how it talks to the server (Connection, Upgrade, Sec-WebSocket-*, Cache-Control and the like) are left out.
type Request struct { // in few strings, because an http.Request takes several times its size in memory
	path       string
	query      string
	host       string
	remoteAddr string
	headers    string // "Name: value\n", repeated
	secure     bool
	transport  Transports
}

// noise are headers that say nothing about the client except how it talks to the server.
var noise = map[string]bool{"Connection": true, "Upgrade": true, "Pragma": true, "Cache-Control": true, "Accept-Encoding": true}

func isNoise(name string) bool { return noise[name] || strings.HasPrefix(name, "Sec-Websocket-") }

// newRequest copies what is kept into one string, because those of r share memory with everything that was read of it.
func newRequest(r *http.Request, kind Transports) *Request {
	parts := [...]string{r.URL.Path, r.URL.RawQuery, r.Host, r.RemoteAddr}
	b := make([]byte, 0, 2048) // which mostly is enough, and on the stack; the string has its own, exact memory
	for _, part := range parts {
		b = append(b, part...)
	}
	for name, values := range r.Header {
		if isNoise(name) {
			continue
		}
		for _, value := range values {
			b = append(append(b, name...), ": "...)
			b = append(b, strings.ReplaceAll(value, "\n", " ")...) // net/http allows none, but middleware may have set it
			b = append(b, '\n')
		}
	}
	all := string(b)
	cut := func(n int) string {
		part := all[:n]
		all = all[n:]
		return part
	}
	return &Request{
		path: cut(len(parts[0])), query: cut(len(parts[1])), host: cut(len(parts[2])), remoteAddr: cut(len(parts[3])),
		headers: all, secure: r.TLS != nil, transport: kind,
	}
}

// Path returns the path of the request's URL, without what http.StripPrefix has removed.
func (r *Request) Path() string { return r.path }

// Transport returns the transport of the connection.
func (r *Request) Transport() Transports { return r.transport }

// Host returns the host that the client has asked for.
func (r *Request) Host() string { return r.host }

// RemoteAddr returns the network address of the client, or of the proxy in front of it.
func (r *Request) RemoteAddr() string { return r.remoteAddr }

// Secure reports whether the request came over TLS.
func (r *Request) Secure() bool { return r.secure }

// Query returns the first value of a key in the request's query, whatever its case, or an empty string.
func (r *Request) Query(key string) string {
	value, _ := transport.QueryValue(r.query, key)
	return value
}

// QueryValues returns the whole query. It may hold the caller's access_token.
func (r *Request) QueryValues() url.Values {
	values, _ := url.ParseQuery(r.query)
	return values
}

// Header returns the first value of a header, or an empty string.
func (r *Request) Header(name string) string {
	if values := r.HeaderValues(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// HeaderValues returns all values of a header.
func (r *Request) HeaderValues(name string) []string {
	name = http.CanonicalHeaderKey(name)
	var values []string
	for line := range strings.Lines(r.headers) {
		if key, value, _ := strings.Cut(line, ": "); key == name {
			values = append(values, strings.TrimSuffix(value, "\n"))
		}
	}
	return values
}

// Cookie returns a cookie that the client has sent, or http.ErrNoCookie if it has not.
func (r *Request) Cookie(name string) (*http.Cookie, error) {
	return (&http.Request{Header: http.Header{"Cookie": r.HeaderValues("Cookie")}}).Cookie(name)
}

// LogValue keeps query and headers, which hold secrets, out of logs.
func (r *Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("path", r.path), slog.String("remote", r.remoteAddr))
}
