package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// credentialRecorder records the credentials that Authenticate has seen.
type credentialRecorder struct {
	mu   sync.Mutex
	seen []string
}

func (s *credentialRecorder) authenticate(r *http.Request) (*hubsys.Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []string{"Cookie", "Authorization"} {
		s.seen = append(s.seen, r.Header.Values(name)...)
	}
	if _, password, ok := r.BasicAuth(); ok {
		s.seen = append(s.seen, password)
	}
	return nil, nil
}

func (s *credentialRecorder) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := strings.Join(s.seen, "; ")
	s.seen = nil
	return seen
}

// Cookies and Basic credentials, which browsers add by themselves, are removed from requests of origins that may not use credentials.
// Bearer tokens are not removed.
func TestCredentialsOfABrowserAreHiddenFromOtherOrigins(t *testing.T) {
	const own, foreign, listed = "", "https://evil.example", "https://app.example"
	const cookie, basic, bearer = "session=SECRET", "Basic YWRhOlNFQ1JFVA==", "Bearer TOKEN"
	every, list := []string{"*"}, []string{listed}
	for name, test := range map[string]struct {
		origins       []string
		credentials   bool
		origin        string
		authorization string
		hidden        bool
	}{
		"any origin: Basic":                         {every, false, foreign, basic, true},
		"any origin: Basic in lower case":           {every, false, foreign, "basic YWRhOlNFQ1JFVA==", true},
		"any origin: Basic in upper case":           {every, false, foreign, "BASIC YWRhOlNFQ1JFVA==", true},
		"any origin: null":                          {every, false, "null", basic, true},
		"any origin: Bearer":                        {every, false, foreign, bearer, false},
		"any origin: Bearer in lower case":          {every, false, foreign, "bearer TOKEN", false},
		"any origin: the server's own page":         {every, false, own, basic, false},
		"a list without credentials: Basic":         {list, false, listed, basic, true},
		"a list without credentials: Bearer":        {list, false, listed, bearer, false},
		"a list without credentials: the own page":  {list, false, own, basic, false},
		"a list with credentials: Basic":            {list, true, listed, basic, false},
		"a list with credentials: Bearer":           {list, true, listed, bearer, false},
		"a list with credentials: the page is none": {list, true, foreign, bearer, false},
	} {
		t.Run(name, func(t *testing.T) {
			var saw credentialRecorder
			srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
				AllowedOrigins: test.origins, AllowCredentials: test.credentials, Authenticate: saw.authenticate,
			}})
			origin := test.origin
			if origin == own {
				origin = strings.TrimSuffix(srv.url, "/test")
			}
			header := http.Header{"Origin": {origin}, "Cookie": {cookie}, "Authorization": {test.authorization}}
			requireCredentials := func() {
				t.Helper()
				seen := saw.take()
				if test.hidden {
					require.NotContains(t, seen, "SECRET")
					require.Empty(t, seen)
					return
				}
				require.Contains(t, seen, test.authorization)
				require.Equal(t, test.origin == own || test.credentials && test.origin == listed, strings.Contains(seen, cookie), "the cookie: %s", seen)
			}
			_, token := negotiate(t, srv.url, header)
			requireCredentials()
			if test.origin == foreign && test.origins[0] != "*" { // the origin may not connect
				return
			}
			c := dialWith(t, srv.url+"?id="+token, dialOptions{header: header})
			requireCredentials()
			c.close()
			query := negotiateQuery(t, srv.url)
			saw.take()
			for _, step := range []struct{ method, body string }{{http.MethodGet, ""}, {http.MethodPost, handshakeJSON + separator}, {http.MethodGet, ""}, {http.MethodDelete, ""}} {
				status, _ := doRequest(t, step.method, srv.url+query, step.body, header)
				require.Less(t, status, 300)
				requireCredentials()
			}
		})
	}
}

// Credentials that are removed for Authenticate are not visible to the hub, either.
func TestCredentialsOfABrowserAreHiddenFromTheHub(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{AllowedOrigins: []string{"*"}}})
	srv.handle("request", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		r := h.Call().Request()
		return []string{r.Header("Cookie"), r.Header("Authorization")}, nil
	})
	header := http.Header{"Origin": {"https://evil.example"}, "Cookie": {"session=SECRET"}, "Authorization": {"Basic YWRhOlNFQ1JFVA=="}}
	require.Equal(t, `["",""]`, dialWith(t, srv.url, dialOptions{header: header}).do("request"))
	header.Set("Authorization", "Bearer TOKEN")
	require.Equal(t, `["","Bearer TOKEN"]`, dialWith(t, srv.url, dialOptions{header: header}).do("request"))
	header.Del("Origin")
	require.Equal(t, `["session=SECRET","Bearer TOKEN"]`, dialWith(t, srv.url, dialOptions{header: header}).do("request"))
}

// Functions of an endpoint that panic decide against what they are asked about. The panic is logged, and costs no room for connections.
func TestDecidingFunctionsThatPanic(t *testing.T) {
	srv := newTestServer(t, testConfig{
		Config: hubsys.Config{MaximumConnections: 1},
		EndpointOptions: hubsys.EndpointOptions{
			AllowOrigin: func(*http.Request, string) bool { panic("in AllowOrigin") },
			Subprotocol: func([]string) string { panic("in Subprotocol") },
		},
	})
	for range 3 {
		_, status, err := tryDialSocket(t, srv.url, dialOptions{header: http.Header{"Origin": {"https://evil.example"}}})
		require.Error(t, err)
		require.Equal(t, http.StatusForbidden, status)
	}
	require.Contains(t, srv.log.String(), "AllowOrigin panicked")
	require.Contains(t, srv.log.String(), "in AllowOrigin")
	header := http.Header{"Sec-Websocket-Protocol": {"a, b"}}
	for range 3 {
		var c *testClient
		eventually(t, func() bool {
			var err error
			c, _, err = tryDialSocket(t, srv.url, dialOptions{header: header})
			return err == nil
		}, "there is room for a connection")
		require.Empty(t, c.ws.Subprotocol())
		c.send(handshakeJSON)
		require.Equal(t, "{}", c.next().raw)
		c.requireNoMessages()
		c.close()
	}
	require.Contains(t, srv.log.String(), "Subprotocol panicked")
}
