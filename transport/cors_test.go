package transport_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/transport"
)

const allowedPage = "https://app.example"

// corsHeaders returns the CORS headers of a response.
func (a httpResult) corsHeaders() map[string]string {
	m := map[string]string{}
	for name, values := range a.header {
		if strings.HasPrefix(name, "Access-Control-") {
			m[name] = strings.Join(values, "|")
		}
	}
	return m
}

func preflight(origin, method, headers string) http.Header {
	h := http.Header{"Origin": {origin}, "Access-Control-Request-Method": {method}}
	if headers != "" {
		h.Set("Access-Control-Request-Headers", headers)
	}
	return h
}

func corsConfig(allowed []string, credentials bool) testConfig {
	return testConfig{EndpointOptions: hubsys.EndpointOptions{AllowedOrigins: allowed, AllowCredentials: credentials, Authenticate: authenticateByHeader}}
}

func TestPreflights(t *testing.T) {
	const ours = "authorization,content-type,x-requested-with,x-signalr-user-agent"
	for _, test := range []struct {
		name        string
		allowed     []string
		credentials bool
		origin      string
		answer      string // Access-Control-Allow-Origin
	}{
		{"listed", []string{allowedPage}, false, allowedPage, allowedPage},
		{"listed, with credentials", []string{allowedPage}, true, allowedPage, allowedPage},
		{"one of several", []string{"https://other.example", allowedPage}, true, allowedPage, allowedPage},
		{"with its own port", []string{allowedPage}, true, allowedPage + ":443", allowedPage + ":443"},
		{"anybody", []string{"*"}, false, "https://anybody.example", "*"},
		{"anybody, sandboxed", []string{"*"}, false, "null", "*"},
		{"not listed", []string{allowedPage}, true, "https://evil.example", ""},
		{"below", []string{allowedPage}, true, "https://evil.app.example", ""},
		{"behind", []string{allowedPage}, true, allowedPage + ".evil", ""},
		{"another scheme", []string{allowedPage}, true, "http://app.example", ""},
		{"another port", []string{allowedPage}, true, allowedPage + ":8443", ""},
		{"sandboxed", []string{allowedPage}, true, "null", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTestServer(t, corsConfig(test.allowed, test.credentials))
			for _, path := range []string{"/test/negotiate", "/test", "/test?id=x"} {
				for _, method := range []string{"GET", "POST", "DELETE"} {
					for _, headers := range []string{"", ours, "x-of-the-application"} {
						a := s.do(http.MethodOptions, path, "", preflight(test.origin, method, headers))
						require.Equal(t, http.StatusNoContent, a.status)
						require.Empty(t, a.body)
						require.Contains(t, a.header.Get("Vary"), "Origin")
						want := map[string]string{}
						if test.answer != "" {
							want["Access-Control-Allow-Origin"] = test.answer
							want["Access-Control-Allow-Methods"] = method
							want["Access-Control-Max-Age"] = "7200"
							if headers != "" {
								want["Access-Control-Allow-Headers"] = headers
							}
							if test.credentials {
								want["Access-Control-Allow-Credentials"] = "true"
							}
						}
						require.Equal(t, want, a.corsHeaders(), "%s %s", method, path)
					}
				}
				require.Empty(t, s.do(http.MethodOptions, path, "", preflight(test.origin, "PUT", "")).corsHeaders())
			}
		})
	}
}

// Without AllowedOrigins, the endpoint sets no CORS headers.
func TestWithoutAllowedOrigins(t *testing.T) {
	s := newTestServer(t, testConfig{unopened: 1})
	for _, path := range []string{"/test/negotiate", "/test"} {
		a := s.do(http.MethodOptions, path, "", preflight(allowedPage, "POST", "authorization"))
		a.requireText(t, http.StatusMethodNotAllowed, "")
		require.Empty(t, a.corsHeaders())
		require.Empty(t, a.header.Values("Vary"))
	}
	a := s.do(http.MethodPost, "/test/negotiate", "", http.Header{"Origin": {allowedPage}})
	require.Equal(t, http.StatusOK, a.status)
	require.Empty(t, a.corsHeaders())
	require.Empty(t, a.header.Values("Vary"))
}

func TestAnOPTIONSWithoutPreflightIsRefused(t *testing.T) {
	s := newTestServer(t, corsConfig([]string{allowedPage}, true))
	s.do(http.MethodOptions, "/test", "", http.Header{"Origin": {allowedPage}}).requireText(t, http.StatusMethodNotAllowed, "")
	s.do(http.MethodOptions, "/test/negotiate", "", nil).requireText(t, http.StatusMethodNotAllowed, "")
}

// All responses have the same CORS headers, including errors: otherwise a page could not read the status.
func TestCORSHeadersOfAllResponses(t *testing.T) {
	for _, test := range []struct {
		name        string
		allowed     []string
		credentials bool
		origin      string
		want        map[string]string
	}{
		{"listed", []string{allowedPage}, false, allowedPage, map[string]string{"Access-Control-Allow-Origin": allowedPage}},
		{"with credentials", []string{allowedPage}, true, allowedPage, map[string]string{"Access-Control-Allow-Origin": allowedPage, "Access-Control-Allow-Credentials": "true"}},
		{"anybody", []string{"*"}, false, allowedPage, map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"not listed", []string{allowedPage}, true, "https://evil.example", map[string]string{}},
		{"no page", []string{allowedPage}, true, "", map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTestServer(t, corsConfig(test.allowed, test.credentials))
			header := http.Header{}
			if test.origin != "" {
				header.Set("Origin", test.origin)
			}
			check := func(status int, h http.Header) {
				t.Helper()
				require.Equal(t, test.want, httpResult{header: h}.corsHeaders(), "%d", status)
				require.Contains(t, strings.Join(h.Values("Vary"), ","), "Origin", "%d", status)
			}
			with := func(name, value string) http.Header {
				h := header.Clone()
				h.Set(name, value)
				return h
			}
			ask := func(status int, method, path, body string, h http.Header) {
				t.Helper()
				a := s.do(method, path, body, h)
				require.Equal(t, status, a.status)
				check(status, a.header)
			}
			ask(http.StatusUnauthorized, http.MethodPost, "/test/negotiate", "", with("Refuse", "401"))
			ask(http.StatusForbidden, http.MethodPost, "/test/negotiate", "", with("Refuse", "403"))
			ask(http.StatusNotFound, http.MethodPost, "/test?id=x", "", header)
			ask(http.StatusNotFound, http.MethodGet, "/test?id=x", "", header)
			ask(http.StatusBadRequest, http.MethodGet, "/test", "", with("Accept", "text/event-stream"))
			ask(http.StatusBadRequest, http.MethodDelete, "/test", "", header)
			c := s.negotiate(header)
			ask(http.StatusUnauthorized, http.MethodGet, c.path(), "", with("Refuse", "401"))
			c.startPolling()
			ask(http.StatusOK, http.MethodPost, c.path(), handshakeJSON, header)
			ask(http.StatusOK, http.MethodGet, c.path(), "", header)
			ask(http.StatusUnauthorized, http.MethodPost, c.path(), "", with("Refuse", "401"))
			ask(http.StatusAccepted, http.MethodDelete, c.path(), "", header)
			_, e := s.connectEvents(header)
			check(http.StatusOK, e.response.Header)
		})
	}
}

func TestCookiesOfEventStreamsAndPolls(t *testing.T) {
	for _, credentials := range []bool{false, true} {
		t.Run(fmt.Sprint(credentials), func(t *testing.T) {
			seen := make(chan string, 100)
			s := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
				AllowedOrigins: []string{allowedPage}, AllowCredentials: credentials,
				Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
					seen <- r.Header.Get("Cookie")
					return nil, nil
				},
			}})
			want := ""
			if credentials {
				want = "a=b"
			}
			header := http.Header{"Origin": {allowedPage}, "Cookie": {"a=b"}}
			c := s.connectPolling(header)
			c.delete()
			s.connectEvents(header)
			close(seen)
			n := 0
			for cookie := range seen {
				require.Equal(t, want, cookie)
				n++
			}
			require.Equal(t, 8, n)
		})
	}
}

var errUnauthenticated = errors.New("unauthenticated")

// An origin may open a WebSocket if and only if CORS allows it.
func TestWebSocketsAndCORSAgree(t *testing.T) {
	host := rapid.SampledFrom([]string{"app.example", "APP.example", "other.example", "app.example.evil", "[::1]", "a@app.example", "localhost", "xn--caf-dma.example"})
	port := rapid.SampledFrom([]string{"", ":80", ":443", ":8080"})
	scheme := rapid.SampledFrom([]string{"https", "http", "HTTPS", "app"})
	origin := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
			return rapid.SampledFrom([]string{"null", "https://", "x", "://", "https://app.example/", "https://app.example/path", "https:app.example", " https://app.example"}).Draw(t, "none")
		}
		return scheme.Draw(t, "scheme") + "://" + host.Draw(t, "host") + port.Draw(t, "port")
	})
	rapid.Check(t, func(t *rapid.T) {
		var allowed []string
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			one := origin.Draw(t, "allowed")
			if _, err := transport.NewOrigins([]string{one}, nil, false); err == nil {
				allowed = append(allowed, one)
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "any") == 0 {
			allowed = append(allowed, "*")
		}
		origins, err := transport.NewOrigins(allowed, nil, false)
		require.NoError(t, err)
		e := &transport.Endpoint{Acceptor: &testEndpoint{authenticate: func(*http.Request) (transport.Identity, error) {
			return transport.Identity{}, errUnauthenticated
		}}, Transports: transport.AllTransports, Origins: origins, Tokens: transport.NewTokens([4]byte{}), Log: slog.New(slog.DiscardHandler)}
		from := origin.Draw(t, "from")
		serve := func(method string, handler http.HandlerFunc, header http.Header) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://server.example/test", nil)
			for name, values := range header {
				r.Header[name] = values
			}
			r.Header.Set("Origin", from)
			w := httptest.NewRecorder()
			handler(w, r)
			return w
		}
		socket := serve(http.MethodGet, e.Connect, http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		})
		asked := serve(http.MethodOptions, e.Negotiate, http.Header{"Access-Control-Request-Method": {"POST"}})
		simple := serve(http.MethodPost, e.Negotiate, nil)
		allows := socket.Code == http.StatusUnauthorized // not refused for its origin
		if !allows {
			require.Equal(t, http.StatusForbidden, socket.Code)
		}
		for _, w := range []*httptest.ResponseRecorder{asked, simple} {
			got := w.Header().Get("Access-Control-Allow-Origin")
			require.Equal(t, allows, got != "", "%q of %q", from, allowed)
			if allows {
				require.Contains(t, []string{from, "*"}, got)
			}
		}
	})
}
