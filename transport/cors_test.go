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

const page = "https://app.example"

// cors are the headers of an answer that are about origins.
func (a answer) cors() map[string]string {
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

func crossing(allowed []string, credentials bool) scene {
	return scene{EndpointOptions: hubsys.EndpointOptions{AllowedOrigins: allowed, AllowCredentials: credentials, Authenticate: user}}
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
		{"listed", []string{page}, false, page, page},
		{"listed, with credentials", []string{page}, true, page, page},
		{"one of several", []string{"https://other.example", page}, true, page, page},
		{"with its own port", []string{page}, true, page + ":443", page + ":443"},
		{"anybody", []string{"*"}, false, "https://anybody.example", "*"},
		{"anybody, sandboxed", []string{"*"}, false, "null", "*"},
		{"not listed", []string{page}, true, "https://evil.example", ""},
		{"below", []string{page}, true, "https://evil.app.example", ""},
		{"behind", []string{page}, true, page + ".evil", ""},
		{"another scheme", []string{page}, true, "http://app.example", ""},
		{"another port", []string{page}, true, page + ":8443", ""},
		{"sandboxed", []string{page}, true, "null", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t, crossing(test.allowed, test.credentials))
			for _, path := range []string{"/show/negotiate", "/show", "/show?id=x"} {
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
						require.Equal(t, want, a.cors(), "%s %s", method, path)
					}
				}
				require.Empty(t, s.do(http.MethodOptions, path, "", preflight(test.origin, "PUT", "")).cors())
			}
		})
	}
}

// Without AllowedOrigins, CORS is left to the application.
func TestWithoutAllowedOrigins(t *testing.T) {
	s := newStage(t, scene{left: 1})
	for _, path := range []string{"/show/negotiate", "/show"} {
		a := s.do(http.MethodOptions, path, "", preflight(page, "POST", "authorization"))
		a.is(t, http.StatusMethodNotAllowed, "")
		require.Empty(t, a.cors())
		require.Empty(t, a.header.Values("Vary"))
	}
	a := s.do(http.MethodPost, "/show/negotiate", "", http.Header{"Origin": {page}})
	require.Equal(t, http.StatusOK, a.status)
	require.Empty(t, a.cors())
	require.Empty(t, a.header.Values("Vary"))
}

func TestAnOPTIONSThatIsNoPreflight(t *testing.T) {
	s := newStage(t, crossing([]string{page}, true))
	s.do(http.MethodOptions, "/show", "", http.Header{"Origin": {page}}).is(t, http.StatusMethodNotAllowed, "")
	s.do(http.MethodOptions, "/show/negotiate", "", nil).is(t, http.StatusMethodNotAllowed, "")
}

// Every answer says the same, errors included: else a page could not tell them apart.
func TestAnswersToPagesOfOtherOrigins(t *testing.T) {
	for _, test := range []struct {
		name        string
		allowed     []string
		credentials bool
		origin      string
		want        map[string]string
	}{
		{"listed", []string{page}, false, page, map[string]string{"Access-Control-Allow-Origin": page}},
		{"with credentials", []string{page}, true, page, map[string]string{"Access-Control-Allow-Origin": page, "Access-Control-Allow-Credentials": "true"}},
		{"anybody", []string{"*"}, false, page, map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"not listed", []string{page}, true, "https://evil.example", map[string]string{}},
		{"no page", []string{page}, true, "", map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t, crossing(test.allowed, test.credentials))
			header := http.Header{}
			if test.origin != "" {
				header.Set("Origin", test.origin)
			}
			check := func(status int, h http.Header) {
				t.Helper()
				require.Equal(t, test.want, answer{header: h}.cors(), "%d", status)
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
			ask(http.StatusUnauthorized, http.MethodPost, "/show/negotiate", "", with("Refuse", "401"))
			ask(http.StatusForbidden, http.MethodPost, "/show/negotiate", "", with("Refuse", "403"))
			ask(http.StatusNotFound, http.MethodPost, "/show?id=x", "", header)
			ask(http.StatusNotFound, http.MethodGet, "/show?id=x", "", header)
			ask(http.StatusBadRequest, http.MethodGet, "/show", "", with("Accept", "text/event-stream"))
			ask(http.StatusBadRequest, http.MethodDelete, "/show", "", header)
			g := s.negotiate(header)
			ask(http.StatusUnauthorized, http.MethodGet, g.path(), "", with("Refuse", "401"))
			g.begin()
			ask(http.StatusOK, http.MethodPost, g.path(), greeting, header)
			ask(http.StatusOK, http.MethodGet, g.path(), "", header)
			ask(http.StatusUnauthorized, http.MethodPost, g.path(), "", with("Refuse", "401"))
			ask(http.StatusAccepted, http.MethodDelete, g.path(), "", header)
			_, e := s.attend(header)
			check(http.StatusOK, e.response.Header)
		})
	}
}

func TestCookiesOfEventStreamsAndPolls(t *testing.T) {
	for _, credentials := range []bool{false, true} {
		t.Run(fmt.Sprint(credentials), func(t *testing.T) {
			seen := make(chan string, 100)
			s := newStage(t, scene{EndpointOptions: hubsys.EndpointOptions{
				AllowedOrigins: []string{page}, AllowCredentials: credentials,
				Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
					seen <- r.Header.Get("Cookie")
					return nil, nil
				},
			}})
			want := ""
			if credentials {
				want = "a=b"
			}
			header := http.Header{"Origin": {page}, "Cookie": {"a=b"}}
			g := s.visit(header)
			g.remove()
			s.attend(header)
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

var errNobody = errors.New("nobody comes in here")

// Who may open a WebSocket from elsewhere is who CORS lets in, and nobody else.
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
			if _, err := transport.NewOrigins([]string{one}, false); err == nil {
				allowed = append(allowed, one)
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "any") == 0 {
			allowed = append(allowed, "*")
		}
		origins, err := transport.NewOrigins(allowed, false)
		require.NoError(t, err)
		e := &transport.Endpoint{Acceptor: &door{authenticate: func(*http.Request) (transport.Identity, error) {
			return transport.Identity{}, errNobody
		}}, Transports: transport.AllTransports, Origins: origins, Tokens: transport.NewTokens([4]byte{}), Log: slog.New(slog.DiscardHandler)}
		from := origin.Draw(t, "from")
		serve := func(method string, handler http.HandlerFunc, header http.Header) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://server.example/door", nil)
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
		allows := socket.Code == http.StatusUnauthorized // not for its origin
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
