package hubsys

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheFieldsOfARequest(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "https://host.example/a%20path?Key=a%26b&key=c&empty&%zz", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header = http.Header{
		"X-One": {"1"}, "X-Many": {"1", "2: two", ""}, "X-Empty": {""}, "X": {"short"}, "Cookie": {"a=1; b=2", "c=3"},
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"x"}, "Sec-Websocket-Version": {"13"}, "Pragma": {"no-cache"}, "Cache-Control": {"no-cache"}, "Accept-Encoding": {"gzip"},
	}
	s := newRequest(r, WebSockets)
	r.Header.Set("X-One", "changed")
	require.Equal(t, "/a path", s.Path())
	require.Equal(t, "host.example", s.Host())
	require.Equal(t, "192.0.2.1:1234", s.RemoteAddr())
	require.True(t, s.Secure())
	require.Equal(t, "1", s.Header("X-One"))
	require.Equal(t, "1", s.Header("x-one"))
	require.Equal(t, "short", s.Header("X"))
	require.Equal(t, []string{"1", "2: two", ""}, s.HeaderValues("X-Many"))
	require.Equal(t, []string{""}, s.HeaderValues("X-Empty"))
	require.Empty(t, s.HeaderValues("X-None"))
	require.Empty(t, s.Header("X-None"))
	for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Pragma", "Cache-Control", "Accept-Encoding"} {
		require.Empty(t, s.HeaderValues(name), "headers of the upgrade are not kept")
	}
	for name, value := range map[string]string{"a": "1", "b": "2", "c": "3"} {
		cookie, err := s.Cookie(name)
		require.NoError(t, err)
		require.Equal(t, value, cookie.Value)
	}
	_, err := s.Cookie("d")
	require.ErrorIs(t, err, http.ErrNoCookie)
	require.Equal(t, url.Values{"Key": {"a&b"}, "key": {"c"}, "empty": {""}}, s.QueryValues())
	require.Empty(t, s.Query("empty"))
	require.Empty(t, s.Query("none"))
	values := s.QueryValues()
	values.Set("none", "x")
	require.Empty(t, s.Query("none"), "QueryValues returns a copy")
}

func TestQueryIgnoresCase(t *testing.T) {
	s := newRequest(httptest.NewRequest(http.MethodGet, "/?Access_Token=x&one=1&one=2", nil), WebSockets)
	require.Equal(t, "x", s.Query("access_token"))
	require.Equal(t, "1", s.Query("ONE"))
	// The first value is always the same.
	s = newRequest(httptest.NewRequest(http.MethodGet, "/?key=first&KEY=second&Key=third", nil), WebSockets)
	for range 100 {
		require.Equal(t, "first", s.Query("key"))
	}
}

func TestAnEmptyRequest(t *testing.T) {
	s := newRequest(&http.Request{URL: &url.URL{}}, WebSockets)
	require.Empty(t, s.Path()+s.Host()+s.RemoteAddr()+s.Header("X")+s.Query("x"))
	require.False(t, s.Secure())
	require.True(t, newRequest(&http.Request{URL: &url.URL{}, TLS: &tls.ConnectionState{}}, WebSockets).Secure())
}

func TestALogHidesTheSecretsOfARequest(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://user:SECRET@host/hub?access_token=SECRET", nil)
	r.Header.Set("Authorization", "Bearer SECRET")
	r.Header.Set("Cookie", "session=SECRET")
	s := newRequest(r, WebSockets)
	for name, handler := range map[string]func(b *bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		log := slog.New(handler(&b))
		log.Info("a request", "request", s)
		log.With("request", s).WithGroup("group").Info("again", slog.Group("in", "request", s))
		require.Contains(t, b.String(), "/hub", name)
		require.Contains(t, b.String(), r.RemoteAddr, name)
		require.NotContains(t, b.String(), "SECRET", name)
	}
}
