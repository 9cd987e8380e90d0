package hubsys_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// serveHostRequest passes a request for a host to a handler.
func serveHostRequest(h http.Handler, method, target, host string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(""))
	r.Host = host
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Requests whose Host is not in AllowedHosts are rejected, which prevents DNS rebinding.
func TestOtherHostsAreRefused(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
		AllowedHosts: []string{"app.example", "api.example:8443", "192.0.2.1", "[2001:db8::1]"}, AllowedOrigins: []string{"*"},
	}})
	for host, want := range map[string]int{
		"app.example": 200, "app.example:80": 200, "app.example:8080": 200, "APP.example:443": 200,
		"api.example:8443": 200, "API.EXAMPLE:8443": 200, "api.example": 421, "api.example:443": 421,
		"192.0.2.1": 200, "192.0.2.1:80": 200, "[2001:db8::1]": 200, "[2001:db8::1]:80": 200,
		"evil.example": 421, "evil.example:80": 421, "": 421, "app.example.evil.example": 421, "evil-app.example": 421, "x.app.example": 421,
		"127.0.0.1": 421, "localhost": 421, "192.0.2.10": 421, "app.example@evil.example": 421, "app.example:80:80": 421,
	} {
		for _, origin := range []string{"", "http://" + host, "https://app.example"} {
			header := http.Header{}
			if origin != "" {
				header.Set("Origin", origin)
			}
			require.Equal(t, want, serveHostRequest(srv.sys, http.MethodPost, negotiatePath, host, header).Code, "%q from %q", host, origin)
		}
	}
}

// Requests of all kinds are rejected.
func TestRequestsOfAllKindsToOtherHostsAreRefused(t *testing.T) {
	t.Parallel()
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose, AllowedHosts: []string{"app.example"}, Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		if r.Host != "app.example" {
			t.Error("Authenticate was asked about", r.Host)
		}
		return nil, nil
	}}})
	token := func() string {
		return tokenOf(t, serveHostRequest(srv.sys, http.MethodPost, negotiatePath, "app.example", nil))
	}
	for i, test := range []struct {
		method string
		header http.Header
	}{
		{http.MethodGet, nil},
		{http.MethodPost, nil},
		{http.MethodDelete, nil},
		{http.MethodGet, http.Header{"Accept": {"text/event-stream"}}},
		{http.MethodOptions, http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"POST"}}},
	} {
		require.Equal(t, http.StatusMisdirectedRequest, serveHostRequest(srv.sys, test.method, "/test?id="+token(), "evil.example", test.header).Code, fmt.Sprint(i, test))
	}
	for _, query := range []string{"", "?id=" + token()} {
		p := dialTCP(t, srv.url) // whose Host is "host"
		require.Equal(t, http.StatusMisdirectedRequest, p.upgrade(query, ""))
	}
	query := "/test?id=" + token()
	require.Equal(t, http.StatusMisdirectedRequest, serveHostRequest(srv.sys, http.MethodGet, query, "evil.example", nil).Code)
	require.Equal(t, http.StatusOK, serveHostRequest(srv.sys, http.MethodGet, query, "app.example", nil).Code, "the token is not spent")
}

func TestWithoutAllowedHostsEveryHostIsServed(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	for _, host := range []string{"app.example", "evil.example:80", ""} {
		require.Equal(t, http.StatusOK, serveHostRequest(srv.sys, http.MethodPost, negotiatePath, host, nil).Code)
	}
}

func TestInvalidAllowedHostsAreRefused(t *testing.T) {
	for _, host := range []string{"", "https://app.example", "app.example/path", "*.app.example", "app.example:port", "a b"} {
		require.ErrorContains(t, hubsys.EndpointOptions{AllowedHosts: []string{"fine.example", host}}.Validate(), "AllowedHosts", "%q", host)
	}
}
