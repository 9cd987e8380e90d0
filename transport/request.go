package transport

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

// Request is what is kept of the request that has opened a connection. It is immutable. The headers lie in one string, because an
// http.Request would keep several times its size in memory for as long as the connection lives. Headers that say nothing about the
// client but how it talks to the server are left out.
type Request struct {
	path       string
	query      string
	host       string
	remoteAddr string
	headers    string // "Name: value\n", repeated
	secure     bool
	transport  Transports
}

// noise are headers that say nothing about the client but how it talks to the server.
var noise = map[string]bool{"Connection": true, "Upgrade": true, "Pragma": true, "Cache-Control": true, "Accept-Encoding": true}

// keptSize is how many bytes of a request are kept, about.
func keptSize(r *http.Request) int {
	n := len(r.URL.RawQuery) + len(r.URL.Path) + len(r.Host)
	for name, values := range r.Header {
		if isNoise(name) {
			continue
		}
		for _, value := range values {
			n += len(name) + len(value) + 3
		}
	}
	return n
}

func isNoise(name string) bool { return noise[name] || strings.HasPrefix(name, "Sec-Websocket-") }

// snapshot copies what is kept into one string; those of the http.Request share memory with all that was read of it.
func snapshot(r *http.Request, transport Transports) *Request {
	parts := []string{r.URL.Path, r.URL.RawQuery, r.Host, r.RemoteAddr}
	var b strings.Builder
	for _, part := range parts {
		b.WriteString(part)
	}
	for name, values := range r.Header {
		if isNoise(name) {
			continue
		}
		for _, value := range values {
			b.WriteString(name)
			b.WriteString(": ")
			b.WriteString(value)
			b.WriteByte('\n')
		}
	}
	all := strings.Clone(b.String())
	cut := func(n int) string {
		part := all[:n]
		all = all[n:]
		return part
	}
	return &Request{
		path: cut(len(parts[0])), query: cut(len(parts[1])), host: cut(len(parts[2])), remoteAddr: cut(len(parts[3])),
		headers: all, secure: r.TLS != nil, transport: transport,
	}
}

// Path is the path of the request's URL.
func (r *Request) Path() string { return r.path }

// Transport is the transport that the connection has got.
func (r *Request) Transport() Transports { return r.transport }

// Host is the host that the client has asked for.
func (r *Request) Host() string { return r.host }

// RemoteAddr is the network address of the client, or of the proxy in front of it.
func (r *Request) RemoteAddr() string { return r.remoteAddr }

// Secure says that the request came over TLS.
func (r *Request) Secure() bool { return r.secure }

// Query is the first value of a key in the request's query, whatever its case, or an empty string.
func (r *Request) Query(key string) string {
	value, _ := queryValue(r.query, key)
	return value
}

// QueryValues is the whole query. It may hold the caller's access_token.
func (r *Request) QueryValues() url.Values {
	values, _ := url.ParseQuery(r.query)
	return values
}

// Header is the first value of a header, or an empty string.
func (r *Request) Header(name string) string {
	if values := r.HeaderValues(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// HeaderValues are all values of a header.
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

// Cookie is a cookie that the client has sent; http.ErrNoCookie if it has not.
func (r *Request) Cookie(name string) (*http.Cookie, error) {
	return (&http.Request{Header: http.Header{"Cookie": r.HeaderValues("Cookie")}}).Cookie(name)
}

// LogValue keeps query and headers, which hold secrets, out of logs.
func (r *Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("path", r.path), slog.String("remote", r.remoteAddr))
}
