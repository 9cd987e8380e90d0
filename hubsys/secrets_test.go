package hubsys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// suite is what the servers of all tests have logged, and the secrets that their clients have sent. Both are in files, because tests measure the
// heap.
var suite = &suiteLog{text: &scratchFile{}, secrets: &scratchFile{}}

type suiteLog struct{ text, secrets *scratchFile }

// newSuiteLogger returns a logger that records everything in the log of the suite.
func newSuiteLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(suite.text, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// leastSecret is the number of bytes from which on a value is looked for: shorter ones are in logs by chance.
const leastSecret = 8

// note adds secrets to those that no log may hold.
func (s *suiteLog) note(secrets ...string) {
	for _, secret := range secrets {
		if len(secret) >= leastSecret {
			_, _ = fmt.Fprintln(s.secrets, secret)
		}
	}
}

// noteRequest adds the secrets of a request: its connection token, its access token, its cookies and what is in its header Authorization.
func (s *suiteLog) noteRequest(rawQuery string, h http.Header) {
	query, _ := url.ParseQuery(rawQuery)
	for name, values := range query {
		switch strings.ToLower(name) {
		case "id":
			for _, id := range values {
				if len(id) == tokenLength {
					s.note(id)
				}
			}
		case "access_token":
			s.note(values...)
		}
	}
	for _, cookie := range (&http.Request{Header: h}).Cookies() {
		s.note(cookie.Value)
	}
	for _, authorization := range h.Values("Authorization") {
		_, credentials, _ := strings.Cut(authorization, " ")
		s.note(authorization, strings.TrimSpace(credentials))
	}
}

// leaks returns the lines of the log that hold secrets.
func (s *suiteLog) leaks() []string { return findSecrets(s.text.bytes(), s.noted()) }

// noted returns the secrets.
func (s *suiteLog) noted() []string {
	return strings.Split(strings.TrimSpace(string(s.secrets.bytes())), "\n")
}

func (s *suiteLog) remove() {
	s.text.remove()
	s.secrets.remove()
}

// noteSecrets is a middleware that notes the secrets of each request.
func noteSecrets(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		suite.noteRequest(r.URL.RawQuery, r.Header)
		next.ServeHTTP(w, r)
	})
}

// newSuiteErrorLog returns a log for an http.Server.
func newSuiteErrorLog() *log.Logger {
	return slog.NewLogLogger(newSuiteLogger().Handler(), slog.LevelError)
}

// scratchFile is a temporary file that is made when something is written to it.
type scratchFile struct {
	mu sync.Mutex
	f  *os.File
}

func (s *scratchFile) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		f, err := os.CreateTemp("", "hubsys-test-")
		if err != nil {
			panic(err)
		}
		s.f = f
	}
	return s.f.Write(p)
}

func (s *scratchFile) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return nil
	}
	b, err := os.ReadFile(s.f.Name())
	if err != nil {
		panic(err)
	}
	return b
}

func (s *scratchFile) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		_ = s.f.Close()
		_ = os.Remove(s.f.Name())
		s.f = nil
	}
}

// tokenLength is the number of characters of a connection token.
const tokenLength = 27

// credentials are what no line of a log may look like, whatever the secret.
var credentials = regexp.MustCompile(`(?i)access_token=|\bauthorization[:=]|\b(set-)?cookie[:=]|\bbearer [\w.~+/-]{6}`)

// findSecrets returns the lines of a log that hold one of the secrets, or that look as if they held credentials. The words of a long log are looked
// up among the connection tokens, of which there are many.
func findSecrets(text []byte, secrets []string) (found []string) {
	tokens, others := map[string]bool{}, []string{}
	for _, secret := range secrets {
		switch {
		case len(secret) == tokenLength:
			tokens[secret] = true
		case secret != "" && !slices.Contains(others, secret):
			others = append(others, secret)
		}
	}
	isOfToken := func(c byte) bool {
		return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '_'
	}
	holds := func(line string) bool {
		run := 0
		for i := range len(line) {
			if run++; !isOfToken(line[i]) {
				run = 0
			}
			if run >= tokenLength && tokens[line[i+1-tokenLength:i+1]] {
				return true
			}
		}
		return slices.ContainsFunc(others, func(secret string) bool { return strings.Contains(line, secret) }) || credentials.MatchString(line)
	}
	for line := range bytes.Lines(text) {
		if line := strings.TrimSpace(string(line)); holds(line) {
			found = append(found, line)
		}
	}
	return found
}

func TestSecretsAreFoundInLogs(t *testing.T) {
	const token = "AAAAAAabcdefghijklmnopqrst-"
	require.Len(t, token, tokenLength)
	secrets := []string{token, "a secret of 23 bytes...", "other"}
	harmless := []string{
		`level=INFO msg="a connection is closed" connection=AAAAAAabcdefghijklmnop`, "the bearer of a name", "the length of the access_token",
	}
	require.Empty(t, findSecrets([]byte(strings.Join(harmless, "\n")), secrets))
	for _, line := range []string{
		"id=" + token, `"` + token + `"`, "x" + token + "y", "a secret of 23 bytes...", "the other one",
		"path=/hub?access_token=x", "Authorization: x", "COOKIE=x", `header="bearer abcdef"`, "Set-Cookie: a",
	} {
		require.Equal(t, []string{line}, findSecrets([]byte(harmless[0]+"\n"+line+"\n"+harmless[1]), secrets))
	}
}

// A token that a server of a test logs is found when all tests are over.
func TestTheLogOfTheSuiteIsComplete(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	_, token := negotiate(t, srv.url, nil)
	header := http.Header{"Authorization": {"Bearer of-the-suite-1"}, "Cookie": {"a=of-the-suite-2"}}
	dialWith(t, srv.url+"?access_token=of-the-suite-3&id="+token, dialOptions{header: header}).invokeError("of the suite")
	for _, secret := range []string{token, "of-the-suite-1", "of-the-suite-2", "of-the-suite-3"} {
		require.Contains(t, suite.noted(), secret)
	}
	require.Contains(t, string(suite.text.bytes()), `method="of the suite"`)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	dial(t, serve(t, sys, hub)).invokeError("of a system without a logger")
	require.Contains(t, string(suite.text.bytes()), `method="of a system without a logger"`)
}

// secretHeader is the header of a request with credentials of all kinds.
func secretHeader() http.Header {
	return http.Header{"Authorization": {"Bearer secret-of-a-header"}, "Cookie": {"session=secret-of-a-cookie; theme=secret-of-a-second-one"}}
}

const secretQuery = "access_token=secret-of-a-query"

// Whatever happens to a request or to its connection, the log says so without the secrets of the request.
func TestLogsOfFailuresHoldNoSecrets(t *testing.T) {
	var fail func() error // nil: nothing fails
	var mu sync.Mutex
	failing := func(f func() error) {
		mu.Lock()
		defer mu.Unlock()
		fail = f
	}
	ask := func(err error) error {
		mu.Lock()
		defer mu.Unlock()
		if fail == nil {
			return nil
		}
		if e := fail(); e != nil {
			return e
		}
		return err
	}
	srv := newTestServer(t, testConfig{
		Config: hubsys.Config{PendingConnectionsPerAddress: 3, MaximumConnections: 2},
		EndpointOptions: hubsys.EndpointOptions{
			AllowedOrigins: []string{"https://app.example"}, AllowedHosts: []string{"127.0.0.1", "host"}, RequestHeaderLimit: 4096, CloseTimeout: quickClose,
			AllowStatefulReconnects: true,
			Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
				return &hubsys.Principal{UserID: r.Header.Get("User"), Expires: time.Now().Add(time.Hour)}, ask(nil)
			},
			Refresh: &hubsys.RefreshOptions{Check: func(*http.Request, *hubsys.Principal, *hubsys.Principal) error { return errors.New("no") }},
		},
	})
	query := func() string {
		id, token := negotiate(t, srv.url, secretHeader())
		require.NotEqual(t, id, token)
		return "?" + secretQuery + "&id=" + token
	}
	request := func(method, address, body string, change func(http.Header)) int {
		h := secretHeader()
		if change != nil {
			change(h)
		}
		status, _ := doRequest(t, method, address, body, h)
		return status
	}
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }

	q := query()
	require.Equal(t, http.StatusForbidden, request(http.MethodPost, srv.url+q, "", set("User", "another")))
	failing(func() error { return errors.New("no") })
	require.Equal(t, http.StatusUnauthorized, request(http.MethodGet, srv.url+q, "", nil))
	failing(func() error { return fmt.Errorf("no: %w", hubsys.ErrForbidden) })
	require.Equal(t, http.StatusForbidden, request(http.MethodPost, srv.url+"/negotiate?"+secretQuery, "", nil))
	failing(func() error { panic("no") })
	require.Equal(t, http.StatusInternalServerError, request(http.MethodGet, srv.url+q, "", set("Accept", "text/event-stream")))
	failing(nil)
	require.Equal(t, http.StatusMisdirectedRequest, func() int {
		p := dialTCP(t, srv.url)
		p.mustWrite(strings.Replace(p.request(http.MethodGet, q, "Cookie: a=secret-of-a-cookie\r\nAuthorization: Bearer secret-of-a-header\r\n"), "Host: host", "Host: evil.example", 1))
		return p.response().StatusCode
	}())
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, request(http.MethodGet, srv.url+q, "", set("X-Large", strings.Repeat("x", 5000))))
	_, status, err := tryDialSocket(t, srv.url+q, dialOptions{header: with(secretHeader(), "Origin", "https://evil.example")})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, http.StatusOK, request(http.MethodGet, srv.url+q, "", nil))
	require.Equal(t, http.StatusOK, request(http.MethodPost, srv.url+q, handshakeJSON+separator+invocation("1", "None"), nil))
	require.Equal(t, http.StatusOK, request(http.MethodGet, srv.url+q, "", nil)) // with the answer to the handshake: the connection is open
	require.Equal(t, http.StatusForbidden, request(http.MethodPost, srv.url+"/refresh"+q, "", nil))
	require.Equal(t, http.StatusForbidden, request(http.MethodPost, srv.url+"/refresh"+q, "", set("User", "another")))
	require.Equal(t, http.StatusAccepted, request(http.MethodDelete, srv.url+q, "", nil))
	require.Equal(t, http.StatusNotFound, request(http.MethodPost, srv.url+q, "", nil))

	srv.handle("panic", func(context.Context, *testHub, []json.RawMessage) (any, error) { panic("no") })
	srv.handle("fail", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return nil, fmt.Errorf("no: %v", h.Call().Request().Path())
	})
	srv.handle("log", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		h.srv.log.logger().Info("the application logs", "request", h.Call().Request())
		return nil, nil
	})
	c := dialWith(t, srv.url+query(), dialOptions{header: secretHeader()})
	for _, action := range []string{"panic", "fail"} {
		c.invokeError("Do", action, []any{})
	}
	c.invokeError("None")
	c.invokeError("Do", 1, 2, 3)
	c.do("log")
	c.send("garbage")
	c.next()
	c.requireClosed()

	for range 2 {
		eventually(t, func() bool { // when the connection before is gone
			return dialTCP(t, srv.url).upgrade(query(), "") == http.StatusSwitchingProtocols
		}, "a connection is taken")
	}
	q = query()
	eventually(t, func() bool {
		return request(http.MethodGet, srv.url+q, "", nil) == http.StatusServiceUnavailable
	}, "no further connection is taken")
	for range 5 {
		status = request(http.MethodPost, srv.url+"/negotiate?negotiateVersion=1&"+secretQuery, "", nil)
	}
	require.Equal(t, http.StatusTooManyRequests, status)
	require.NoError(t, shutdown(srv.sys))
	require.Equal(t, http.StatusServiceUnavailable, request(http.MethodPost, srv.url+"/negotiate?"+secretQuery, "", nil))

	for _, logged := range []string{
		"status=403", "status=401", "Authenticate panicked", "its origin is not allowed", "not in AllowedHosts", "a connection was refused", "a negotiation was refused",
		"a hub method", "arguments do not fit", "an unknown method was called", "a connection is closed", "the application logs",
	} {
		require.Contains(t, srv.log.String(), logged)
	}
	require.Empty(t, findSecrets([]byte(srv.log.String()), suite.noted()))
}
