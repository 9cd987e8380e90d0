package hubsys_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

type limitedHub struct{ hubsys.Hub }

func (h *limitedHub) Leave(ctx context.Context, group string) error {
	return h.Groups().Leave(ctx, group)
}

func (h *limitedHub) Join(ctx context.Context, group string) error {
	err := h.Groups().Join(ctx, group)
	if err != nil {
		return hubsys.Errorf("%w", err)
	}
	return nil
}

func (*limitedHub) Echo(s string) string { return s }

// serveLimited serves a limitedHub whose users are named by the header User.
func serveLimited(t *testing.T, config hubsys.Config, options hubsys.HubOptions) string {
	config.EndpointDefaults.Authenticate = principalOf
	sys := newSystem(t, config)
	return serve(t, sys, register(t, sys, func(context.Context) (*limitedHub, error) { return &limitedHub{}, nil }, options))
}

// tryUpgrade asks for a WebSocket, and returns the answer.
func tryUpgrade(t *testing.T, address string, header http.Header) (status int, retryAfter, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ws, r, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		_ = ws.CloseNow()
		return r.StatusCode, "", ""
	}
	require.NotNil(t, r, err)
	text, _ := io.ReadAll(r.Body)
	return r.StatusCode, r.Header.Get("Retry-After"), string(text)
}

func TestConnectionsAreLimited(t *testing.T) {
	for name, test := range map[string]struct {
		config hubsys.Config
		user   string
		status int
		text   string
	}{
		"server":  {hubsys.Config{MaximumConnections: 2}, "", http.StatusServiceUnavailable, "The server can have at most 2 connections."},
		"user":    {hubsys.Config{MaximumConnectionsPerUser: 2}, "ann", http.StatusTooManyRequests, "A user can have at most 2 connections."},
		"address": {hubsys.Config{MaximumConnectionsPerAddress: 2}, "", http.StatusTooManyRequests, "At most 2 connections can come from one address."},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveLimited(t, test.config, hubsys.HubOptions{})
			options := dialOptions{}
			if test.user != "" {
				options.header = userHeader(test.user)
			}
			first := dialWith(t, address, options)
			dialWith(t, address, options)
			for range 3 { // each is refused before it has a transport
				status, retryAfter, text := tryUpgrade(t, address, options.header)
				require.Equal(t, test.status, status)
				assert.Equal(t, "10", retryAfter)
				assert.Equal(t, test.text, text)
			}
			if test.user != "" {
				dialWith(t, address, dialOptions{header: userHeader("bob")}).invoke("Echo", "another user")
			}
			_ = first.ws.CloseNow()
			require.Eventually(t, func() bool {
				status, _, _ := tryUpgrade(t, address, options.header)
				return status == http.StatusSwitchingProtocols
			}, testTimeout, 10*time.Millisecond)
		})
	}
}

func TestCallsPerSecondAreLimited(t *testing.T) {
	address := serveLimited(t, hubsys.Config{}, hubsys.HubOptions{MaximumCallsPerSecond: 1, EnableDetailedErrors: true})
	c := dialHandshake(t, address, dialOptions{})
	c.send(invocation("1", "Echo", "a"), invocation("2", "Nonsense"), invocation("3", "Echo", "c"), invocation("4", "Nonsense"), invocation("5", "Echo", 5))
	assert.Equal(t, `"a"`, string(c.awaitCompletion("1").Result))
	assert.Contains(t, *c.awaitCompletion("2").Error, "Method does not exist")
	for i, method := range []string{"Echo", "Nonsense", "Echo"} {
		assert.Equal(t, "Failed to invoke '"+method+"' because a client can make at most 1 calls per second.", *c.awaitCompletion(fmt.Sprint(3 + i)).Error)
	}
}

func TestCallsPerSecondOfAUserAreLimited(t *testing.T) {
	address := serveLimited(t, hubsys.Config{}, hubsys.HubOptions{MaximumCallsPerSecondOfUser: 1})
	one := dialHandshake(t, address, dialOptions{header: userHeader("ann")})
	other := dialHandshake(t, address, dialOptions{header: userHeader("ann")})
	one.invoke("Echo", "a")
	other.invoke("Echo", "b")
	refused := "Failed to invoke 'Echo' because a user can make at most 1 calls per second."
	one.send(invocation("3", "Echo", "c"), invocation("4", "Echo", "d"))
	assert.Equal(t, refused, *one.awaitCompletion("4").Error)
	dialWith(t, address, dialOptions{header: userHeader("bob")}).invoke("Echo", "another user")
}

func TestGroupsOfAConnectionAreLimited(t *testing.T) {
	address := serveLimited(t, hubsys.Config{}, hubsys.HubOptions{MaximumGroupsPerConnection: 2})
	c := dialWith(t, address, dialOptions{})
	for i := range 2 {
		c.invoke("Join", fmt.Sprint(i))
	}
	c.invoke("Join", "1") // it is a member already
	assert.Contains(t, c.invokeError("Join", "2"), "as many groups as MaximumGroupsPerConnection and MaximumGroupNameBytes allow")
	assert.Contains(t, c.invokeError("Join", strings.Repeat("x", 1025)), "the name of a group has 1025 bytes, more than 1024")
}

func TestBytesOfGroupNamesAreLimited(t *testing.T) {
	address := serveLimited(t, hubsys.Config{}, hubsys.HubOptions{MaximumGroupNameBytes: 10})
	c := dialWith(t, address, dialOptions{})
	c.invoke("Join", "12345")
	c.invoke("Join", "67890")
	assert.Contains(t, c.invokeError("Join", "x"), "as many groups as MaximumGroupsPerConnection and MaximumGroupNameBytes allow")
	c.invoke("Leave", "67890")
	c.invoke("Join", "x")
}

func TestNamesOfAnAudienceAreLimited(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumNamesPerAudience: 2}})
	clients, three := srv.hub.Clients(), []string{"a", "b", "c"}
	for name, audience := range map[string]hubsys.Audience{
		"clients": clients.Clients(three...), "groups": clients.Groups(three...), "users": clients.Users(three...), "all but": clients.AllExcept(three...),
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, audience.Send(t.Context(), "m"), hubsys.ErrTooManyNames)
			require.ErrorIs(t, audience.Join(t.Context(), "group"), hubsys.ErrTooManyNames)
			require.ErrorIs(t, audience.Leave(t.Context(), "group"), hubsys.ErrTooManyNames)
			require.ErrorIs(t, audience.Disconnect(t.Context(), ""), hubsys.ErrTooManyNames)
			require.ErrorIs(t, audience.Reconnect(t.Context()), hubsys.ErrTooManyNames)
			_, err := audience.Members(t.Context())
			require.ErrorIs(t, err, hubsys.ErrTooManyNames)
			_, err = audience.Count(t.Context())
			require.ErrorIs(t, err, hubsys.ErrTooManyNames)
		})
	}
	require.NoError(t, clients.Groups("a", "b").Send(t.Context(), "m"))
}
