package transport

import (
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
		require.Equal(t, test.same, nobody.allows(r), "%s from %s", test.host, test.origin)
		require.Equal(t, test.listed, allowed.allows(r), "%s from %s", test.host, test.origin)
		require.True(t, anybody.allows(r))
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

func TestCookiesOfOtherOrigins(t *testing.T) {
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
	}
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
			return o.allows(r), nobody.allows(r), o.hideCredentials(r).Header.Get("Cookie") != ""
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
