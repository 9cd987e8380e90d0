package transport

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhichOriginsAreAllowed(t *testing.T) {
	allowed, err := NewOrigins([]string{"https://App.example", "http://dev.example:3000", "https://eighty.example:443", "http://[::1]:80", "app://local"}, nil, false)
	require.NoError(t, err)
	anybody, err := NewOrigins([]string{"*"}, nil, false)
	require.NoError(t, err)
	nobody, err := NewOrigins(nil, nil, false)
	require.NoError(t, err)
	for _, test := range []struct {
		host, origin string
		same, listed bool
	}{
		{"host.example", "", true, true},
		{"host.example", "https://host.example", true, true},
		{"host.example", "http://host.example", true, true}, // a proxy may have ended TLS
		{"host.example", "HTTPS://HOST.example", true, true},
		{"HOST.example", "https://host.example:443", true, true},
		{"host.example:443", "https://host.example", true, true},
		{"host.example:80", "http://host.example", true, true},
		{"host.example:8080", "http://host.example:8080", true, true},
		{"host.example", "http://host.example:8080", false, false},
		{"host.example:8080", "http://host.example", false, false},
		{"host.example", "https://host.example:80", false, false},
		{"host.example:80", "https://host.example", false, false},
		{"[::1]:8080", "http://[::1]:8080", true, true},
		{"host.example", "https://evil.host.example", false, false},
		{"host.example", "https://host.example.evil", false, false},
		{"host.example", "https://evilhost.example", false, false},
		{"host.example", "https://host.example@evil.example", false, false},
		{"host.example", "https://evil.example/host.example", false, false},
		{"host.example", "host.example", false, false},
		{"host.example", "null", false, false},
		{"host.example", "https://", false, false},
		{"host.example", "https://[", false, false},
		{"host.example", "https://app.example", false, true},
		{"host.example", "https://app.example:443", false, true},
		{"host.example", "http://app.example", false, false},
		{"host.example", "https://app.example:80", false, false},
		{"host.example", "https://sub.app.example", false, false},
		{"host.example", "http://dev.example:3000", false, true},
		{"host.example", "http://dev.example", false, false},
		{"host.example", "https://eighty.example", false, true},
		{"host.example", "http://[::1]", false, true},
		{"host.example", "app://local", false, true},
		{"", "", true, true},
		{"", "https://", false, false},
	} {
		r := &http.Request{Host: test.host, Header: http.Header{}}
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		require.Equal(t, test.same, nobody.Allows(r), "%s from %s", test.host, test.origin)
		require.Equal(t, test.listed, allowed.Allows(r), "%s from %s", test.host, test.origin)
		require.True(t, anybody.Allows(r))
	}
}

func TestInvalidOriginsAreRefused(t *testing.T) {
	for _, origin := range []string{"", "app.example", "https://", "//app.example", "https://app.example/", "https://app.example/x", "https://app.example?x", "https://app.example#x", "https://user@app.example", ":", "https://[", "localhost:3000"} {
		_, err := NewOrigins([]string{"https://fine.example", origin}, nil, false)
		require.ErrorContains(t, err, "is not of the form scheme://host or scheme://host:port", origin)
	}
	for _, pattern := range []string{"https://*.example", "https://*", "https://*example.com", "https://a.*.example.com", "https://*.*.example.com"} {
		_, err := NewOrigins([]string{pattern}, nil, false)
		require.ErrorContains(t, err, "a wildcard stands for all subdomains", pattern)
	}
	_, err := NewOrigins([]string{"null"}, nil, true)
	require.ErrorContains(t, err, "together with credentials")
	_, err = NewOrigins([]string{"*"}, nil, true)
	require.ErrorContains(t, err, "cannot be allowed together with credentials")
}

func TestCredentialsOfOtherOrigins(t *testing.T) {
	for _, test := range []struct {
		credentials bool
		origin      string
		seen        bool
	}{
		{false, "", true},
		{false, "https://host.example", true},
		{false, "https://app.example", false},
		{false, "https://evil.example", false},
		{false, "null", false},
		{false, "https://[", false},
		{true, "https://app.example", true},
		{true, "https://host.example", true},
		{true, "https://evil.example", false}, // credentials are not allowed for this origin
		{true, "null", false},
	} {
		o, err := NewOrigins([]string{"https://app.example"}, nil, test.credentials)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "http://host.example/hub", nil)
		r.Header.Set("Cookie", "a=b")
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		stripped := o.hideCredentials(r)
		require.Equal(t, test.seen, stripped.Header.Get("Cookie") != "", "%v", test)
		require.Equal(t, "a=b", r.Header.Get("Cookie"), "the request that others see is left alone")

		r.Header.Del("Cookie")
		certificates := []*x509.Certificate{{}}
		r.TLS = &tls.ConnectionState{ServerName: "host.example", PeerCertificates: certificates, VerifiedChains: [][]*x509.Certificate{certificates}}
		stripped = o.hideCredentials(r)
		require.Equal(t, test.seen, len(stripped.TLS.PeerCertificates) > 0, "%v", test)
		require.Equal(t, test.seen, len(stripped.TLS.VerifiedChains) > 0, "%v", test)
		require.Equal(t, "host.example", stripped.TLS.ServerName)
		require.Len(t, r.TLS.PeerCertificates, 1, "the request that others see is left alone")
	}
}

// A pattern stands for all subdomains, of any depth, with its scheme and its port.
func TestPatternsOfOrigins(t *testing.T) {
	for _, test := range []struct {
		pattern         string
		allowed, others []string
	}{
		{
			"https://*.example.com",
			[]string{
				"https://a.example.com", "https://a.b.example.com", "https://A.EXAMPLE.com", "HTTPS://a.example.com", "https://a.example.com:443",
				"https://xn--caf-dma.example.com", "https://evil-.example.com", "https://example.com.example.com",
			},
			[]string{
				"https://example.com", "https://.example.com", "https://evil-example.com", "https://evilexample.com", "https://a.example.com.evil",
				"https://a.example.com.", "https://example.com.evil", "http://a.example.com", "http://a.example.com:443", "wss://a.example.com",
				"https://a.example.com:80", "https://a.example.com:8443", "https://a.example.org", "https://a.b.c", "https://evil.example/.example.com",
				"https://evil.example#.example.com", "https://evil.example?.example.com", "https://a.example.com@evil.example", "https://*.example.comx",
				"a.example.com", "//a.example.com", "https:a.example.com", "null", "https://", "https://[", "", "https://evil.example\\.example.com",
			},
		},
		{"https://*.Example.com:8443", []string{"https://a.example.com:8443", "https://a.b.example.com:8443"}, []string{"https://a.example.com", "https://example.com:8443", "https://a.example.com:443", "https://a.example.com:18443"}},
		{"https://*.example.com:443", []string{"https://a.example.com", "https://a.example.com:443"}, []string{"http://a.example.com:443", "https://a.example.com:4433"}},
		{"http://*.example.com", []string{"http://a.example.com:80"}, []string{"https://a.example.com", "https://a.example.com:80"}},
		{"app://*.example.com", []string{"app://a.example.com"}, []string{"app://example.com", "https://a.example.com"}},
	} {
		o, err := NewOrigins([]string{test.pattern}, nil, false)
		require.NoError(t, err)
		allows := func(origin string) bool {
			return o.Allows(&http.Request{Host: "host.example", Header: http.Header{"Origin": {origin}}})
		}
		for _, origin := range test.allowed {
			require.True(t, allows(origin), "%s: %s", test.pattern, origin)
		}
		for _, origin := range test.others {
			if origin != "" { // no page
				require.False(t, allows(origin), "%s: %s", test.pattern, origin)
			}
		}
	}
	o, err := NewOrigins([]string{"https://*.example.com", "https://example.com", "https://*.other.example:81"}, nil, true)
	require.NoError(t, err)
	for origin, allowed := range map[string]bool{"https://example.com": true, "https://a.example.com": true, "https://a.other.example:81": true, "https://a.other.example": false} {
		require.Equal(t, allowed, o.Allows(&http.Request{Header: http.Header{"Origin": {origin}}}), origin)
	}
}

func TestTheNullOrigin(t *testing.T) {
	for _, test := range []struct {
		allowed []string
		want    bool
	}{{nil, false}, {[]string{"https://app.example", "https://*.example.com"}, false}, {[]string{"null"}, true}, {[]string{"*"}, true}} {
		o, err := NewOrigins(test.allowed, nil, false)
		require.NoError(t, err)
		require.Equal(t, test.want, o.Allows(&http.Request{Host: "null", Header: http.Header{"Origin": {"null"}}}), "%q", test.allowed)
		for _, origin := range []string{"NULL", "Null", "null ", "null://", "https://null.example"} {
			require.Equal(t, len(test.allowed) == 1 && test.allowed[0] == "*", o.Allows(&http.Request{Host: "host", Header: http.Header{"Origin": {origin}}}), "%q: %q", test.allowed, origin)
		}
	}
}

// askOrigin sends an endpoint an upgrade, a preflight and a negotiation of a page, with a cookie. It reports whether the WebSocket was refused for
// its origin, which CORS headers the others have got, and whether Authenticate has seen the cookie.
func askOrigin(t *testing.T, o *Origins, origin string) (socket bool, preflight, simple http.Header, cookie bool) {
	t.Helper()
	e := newFixedClockEndpoint(t)
	e.Origins = o
	acceptor := &cookieAcceptor{testAcceptor: e.testAcceptor}
	e.Endpoint.Acceptor = acceptor
	header := func(extra http.Header) http.Header {
		h := http.Header{"Cookie": {"a=b"}}
		if origin != "" {
			h.Set("Origin", origin)
		}
		for name, values := range extra {
			h[name] = values
		}
		return h
	}
	r := serveRequest(e.Connect, http.MethodGet, "", header(http.Header{
		"Refuse": {"401"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}))
	require.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, r.status)
	asked := serveRequest(e.Negotiate, http.MethodOptions, "", header(http.Header{"Access-Control-Request-Method": {"POST"}}))
	acceptor.cookie = false
	answered := serveRequest(e.Negotiate, http.MethodPost, "?negotiateVersion=1", header(nil))
	require.Equal(t, http.StatusOK, answered.status)
	return r.status == http.StatusUnauthorized, asked.header, answered.header, acceptor.cookie
}

// cookieAcceptor notes whether a request has a cookie.
type cookieAcceptor struct {
	*testAcceptor
	cookie bool
}

func (a *cookieAcceptor) Authenticate(r *http.Request) (Identity, error) {
	a.cookie = r.Header.Get("Cookie") != ""
	return a.testAcceptor.Authenticate(r)
}

// AllowOrigin, the list and the server's own origin add to each other, for WebSockets as for CORS. Credentials are hidden unless they are allowed and
// the origin is one of these.
func TestOriginsThatAreDecided(t *testing.T) {
	sandboxed := false
	decide := func(r *http.Request, origin string) bool {
		require.Equal(t, "host", r.Host)
		require.Equal(t, origin, r.Header.Get("Origin"), "the origin as the browser has sent it")
		return origin == "https://Customer.example:443" || origin == "null" && sandboxed
	}
	for _, credentials := range []bool{false, true} {
		sandboxed = !credentials
		o, err := NewOrigins([]string{"https://app.example", "https://*.sub.example"}, decide, credentials)
		require.NoError(t, err)
		for origin, test := range map[string]struct{ allowed, listed bool }{
			"":                             {true, false},
			"https://host":                 {true, false}, // of the server
			"https://app.example":          {true, true},
			"https://a.sub.example":        {true, true},
			"https://Customer.example:443": {true, true},
			"null":                         {!credentials, !credentials},
			"https://customer.example":     {false, false}, // the function compares as it likes
			"https://evil.example":         {false, false},
			"not an origin":                {false, false},
		} {
			socket, preflight, simple, cookie := askOrigin(t, o, origin)
			require.Equal(t, test.allowed, socket, "a WebSocket of %q", origin)
			own := origin == "" || origin == "https://host"
			require.Equal(t, own || test.listed && credentials, cookie, "the cookie of %q", origin)
			want := ""
			if test.listed {
				want = origin
			}
			for _, h := range []http.Header{preflight, simple} {
				require.Equal(t, want, h.Get("Access-Control-Allow-Origin"), origin)
				require.Equal(t, test.listed && credentials, h.Get("Access-Control-Allow-Credentials") == "true", origin)
				require.NotEmpty(t, h.Values("Vary"), "answers depend on the origin")
			}
		}
	}
}

// A function alone, without a list, is enough for CORS.
func TestAllowOriginWithoutAList(t *testing.T) {
	o, err := NewOrigins(nil, func(_ *http.Request, origin string) bool { return origin == "https://app.example" }, true)
	require.NoError(t, err)
	socket, preflight, simple, cookie := askOrigin(t, o, "https://app.example")
	require.True(t, socket && cookie)
	require.Equal(t, "https://app.example", preflight.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "https://app.example", simple.Get("Access-Control-Allow-Origin"))
	socket, preflight, simple, cookie = askOrigin(t, o, "https://other.example")
	require.False(t, socket || cookie)
	require.Empty(t, preflight.Get("Access-Control-Allow-Origin")+simple.Get("Access-Control-Allow-Origin"))
}

// A function beside "*" does not make credentials of all pages visible.
func TestAllowOriginBesideAnyOrigin(t *testing.T) {
	o, err := NewOrigins([]string{"*"}, func(*http.Request, string) bool { return true }, false)
	require.NoError(t, err)
	socket, preflight, _, cookie := askOrigin(t, o, "https://app.example")
	require.True(t, socket)
	require.False(t, cookie)
	require.Equal(t, "*", preflight.Get("Access-Control-Allow-Origin"))
}

// A request from an origin that is not allowed is refused before it is authenticated.
func TestAPageOfAnotherOrigin(t *testing.T) {
	c := newFixedClockEndpoint(t)
	header := http.Header{
		"Origin": {"https://evil.example"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	r := serveRequest(c.Connect, http.MethodGet, "", header)
	require.Equal(t, http.StatusForbidden, r.status)
	require.Contains(t, r.body, `The origin "https://evil.example" is not allowed to connect: it is not that of the Host of this request`)
	require.Zero(t, c.authentications)
}

// flipCase changes the case of the ASCII letters whose index is set in bits.
func flipCase(s string, bits uint64) string {
	b := []byte(s)
	for i, c := range b {
		if bits>>(i%64)&1 == 1 && (c|0x20 >= 'a' && c|0x20 <= 'z') {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

func FuzzOrigin(f *testing.F) {
	for _, origin := range []string{"https://app.example", "http://host.example:80", "null", "https://[::1]:443", "https://a@b", "ws://x:80:80", "https://%41.example", "//", "a:b"} {
		f.Add("host.example", origin, uint64(0x5555))
		f.Add(strings.TrimPrefix(origin, "https://"), origin, ^uint64(0))
	}
	f.Add(":80", "http:", uint64(0))
	f.Fuzz(func(t *testing.T, host, origin string, bits uint64) {
		list := []string{"https://app.example"}
		if _, err := NewOrigins([]string{origin}, nil, false); err == nil && origin != AnyOrigin {
			list = append(list, origin)
		}
		o, err := NewOrigins(list, nil, false)
		require.NoError(t, err)
		decide := func(host, origin string) (allowed, same, cookies bool) {
			r := &http.Request{Host: host, Header: http.Header{"Origin": {origin}, "Cookie": {"a=b"}}}
			nobody, _ := NewOrigins(nil, nil, false)
			return o.Allows(r), nobody.Allows(r), o.hideCredentials(r).Header.Get("Cookie") != ""
		}
		allowed, same, cookies := decide(host, origin)
		if len(list) == 2 {
			require.True(t, allowed, "it is on the list")
		}
		require.True(t, allowed || !same)
		require.Equal(t, same, cookies, "cookies are for pages of our own")
		if origin == NullOrigin || strings.Contains(origin, "%") || strings.Contains(host, "%") {
			return // percent-encoded bytes are case-sensitive
		}
		a, s, c := decide(flipCase(host, bits), flipCase(origin, bits>>1))
		require.Equal(t, [3]bool{allowed, same, cookies}, [3]bool{a, s, c})
	})
}

// AllowOrigin is not asked about origins that are allowed without it.
func TestAllowOriginIsAskedAboutOtherOrigins(t *testing.T) {
	var asked []string
	o, err := NewOrigins([]string{"https://app.example", "https://*.sub.example"}, func(_ *http.Request, origin string) bool {
		asked = append(asked, origin)
		return true
	}, true)
	require.NoError(t, err)
	for _, origin := range []string{"", "https://host", "HTTP://HOST:80", "https://App.example:443", "https://a.sub.example"} {
		socket, _, _, cookie := askOrigin(t, o, origin)
		require.True(t, socket && cookie, origin)
	}
	require.Empty(t, asked)
	socket, _, _, cookie := askOrigin(t, o, "https://other.example")
	require.True(t, socket && cookie)
	require.Contains(t, asked, "https://other.example")
}

// Every page can make "null" its origin, so it gets no credentials, whoever allows it.
func TestTheNullOriginGetsNoCredentials(t *testing.T) {
	o, err := NewOrigins([]string{"https://app.example"}, func(*http.Request, string) bool { return true }, true)
	require.NoError(t, err)
	socket, _, _, cookie := askOrigin(t, o, NullOrigin)
	require.True(t, socket, "it is allowed")
	require.False(t, cookie)
	r := httptest.NewRequest(http.MethodGet, "http://host/hub", nil)
	r.Header = http.Header{"Origin": {NullOrigin}, "Authorization": {"Basic YWRhOlNFQ1JFVA=="}}
	require.Empty(t, o.hideCredentials(r).Header.Get("Authorization"))
	r.Header.Set("Authorization", "Bearer TOKEN")
	require.Equal(t, "Bearer TOKEN", o.hideCredentials(r).Header.Get("Authorization"), "the page itself has sent it")
}
