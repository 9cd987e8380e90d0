package hubsys_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

const mostNameBytes = 1024

// The names of users are as limited as those of groups: a longer one is refused before there is a connection.
func TestNamesOfUsersAndGroupsAreLimited(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: principalOf, Refresh: &hubsys.RefreshOptions{AllowUserChange: true}}})
	fits, long := strings.Repeat("x", mostNameBytes), strings.Repeat("x", mostNameBytes+1)
	_, token := negotiate(t, srv.url, userHeader(fits))
	c := dialWith(t, srv.url+"?id="+token, dialOptions{header: userHeader(fits)})
	require.NoError(t, srv.hub.Clients().User(fits).Send(t.Context(), "to the user"))
	c.requireInvocation("to the user")
	status, body := post(t, srv.url+"/negotiate", userHeader(long))
	require.Equal(t, http.StatusForbidden, status)
	require.Empty(t, body)
	_, status, err := tryDialSocket(t, srv.url, dialOptions{header: userHeader(long)})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, status)
	status, _ = post(t, srv.url+"/refresh?id="+token, userHeader(long))
	require.Equal(t, http.StatusForbidden, status)
	require.NoError(t, srv.hub.Clients().User(fits).Send(t.Context(), "still the user"))
	c.requireInvocation("still the user")

	_, id := dialWithID(t, srv.url, nil)
	want := "the name of a group has 1025 bytes, more than 1024"
	require.NoError(t, srv.hub.Groups().Add(t.Context(), id, fits))
	assert.ErrorContains(t, srv.hub.Groups().Add(t.Context(), id, long), want)
	assert.ErrorContains(t, srv.hub.Clients().All().Join(t.Context(), long), want)
	assert.ErrorContains(t, srv.hub.Groups().Remove(t.Context(), id, long), want)
}

// The IDs that a client gives its calls and streams have a limit; a longer one closes the connection.
func TestIDsOfClientsAreLimited(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	fits, long := strings.Repeat("i", hubproto.MaxIDLength), strings.Repeat("i", hubproto.MaxIDLength+1)
	streams := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"s",`, n), ",") }
	for name, message := range map[string]string{
		"an invocation":               `{"type":1,"invocationId":"%s","target":"Echo","arguments":[1]}`,
		"a streaming invocation":      `{"type":4,"invocationId":"%s","target":"Echo","arguments":[1]}`,
		"an item":                     `{"type":2,"invocationId":"%s","item":1}`,
		"a completion":                `{"type":3,"invocationId":"%s","result":1}`,
		"a cancellation":              `{"type":5,"invocationId":"%s"}`,
		"a stream of an invocation":   `{"type":1,"invocationId":"1","target":"Echo","arguments":[1],"streamIds":["%s"]}`,
		"an ID of a message of no ID": `{"type":6,"invocationId":"%s"}`,
	} {
		for _, way := range waysToSend {
			require.Contains(t, sendAndReceive(t, srv, way, fmt.Sprintf(message, fits)+separator), lastAnswer, name)
			received := sendAndReceive(t, srv, way, fmt.Sprintf(message, long)+separator)
			require.NotContains(t, received, lastAnswer, name)
			require.Contains(t, received, "Connection closed with an error.", name)
		}
	}
	many := `{"type":1,"invocationId":"1","target":"Echo","arguments":[1],"streamIds":[%s]}` + separator
	require.Contains(t, sendAndReceive(t, srv, "text frame", fmt.Sprintf(many, streams(hubproto.MaxStreamIDs))), lastAnswer)
	require.NotContains(t, sendAndReceive(t, srv, "text frame", fmt.Sprintf(many, streams(hubproto.MaxStreamIDs+1))), lastAnswer)
	require.NotContains(t, sendAndReceive(t, srv, "text frame", fmt.Sprintf(many, streams(8000))), lastAnswer)
}

// The name of a method is limited by the size of a message alone: it is compared, repeated in the answer to its client, and kept nowhere.
func TestNamesOfUnknownMethodsAreNotKept(t *testing.T) {
	const names, size = 10_000 / raceFactor, 1000
	srv := newTestServer(t, testConfig{Config: hubsys.Config{Logger: newSuiteLogger()}, HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: 40_000}})
	c := dial(t, srv.url)
	long := strings.Repeat("m", 32_000)
	require.Equal(t, "Failed to invoke '"+long+"' due to an error on the server. HubException: Method does not exist.", c.invokeError(long))
	c.invoke("Echo", "warm")
	before := heapInUse()
	for i := range names {
		c.send(invocation("", fmt.Sprint(strings.Repeat("m", size), i)))
	}
	c.invokeError(long)
	requireHeapSettles(t, before, names*size/8, "%d names", names)
}

// The time of a lookup does not grow with the square of a name's length.
func TestLongNamesOfMethodsAreLookedUpInLinearTime(t *testing.T) {
	const short, factor, tolerance = 10_000, 50, 16
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: hubsys.Unlimited, OutboxLimit: 16 * mib}})
	c := dial(t, srv.url)
	took := func(n int) time.Duration {
		name := strings.Repeat("É", n)
		return fastest(3, func() time.Duration {
			start := time.Now()
			c.invokeError(name)
			return time.Since(start)
		})
	}
	small, large := took(short), took(factor*short)
	t.Logf("%d characters: %v; %d: %v", short, small, factor*short, large)
	require.LessOrEqual(t, large, tolerance*factor*small)
}

// A client may be able to choose the names of an audience, and list one again and again. What it costs to find the members grows with the sum of the
// numbers of names and of members, not with their product.
func TestNamesThatAreListedAgainCostLittle(t *testing.T) {
	const members, names = 80, 8000 // which fit into one message
	srv := newTestServer(t, testConfig{
		EndpointOptions: hubsys.EndpointOptions{Authenticate: principalOf, TransportSendTimeout: time.Hour, CloseTimeout: quickClose},
	})
	var ids []string
	for range members {
		token := tokenOf(t, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", userHeader("ada")))
		require.Equal(t, http.StatusOK, serveRequest(srv.sys, http.MethodGet, "/test?id="+token, "", userHeader("ada")).Code)
		require.Equal(t, http.StatusOK, serveRequest(srv.sys, http.MethodPost, "/test?id="+token, handshakeJSON+separator, userHeader("ada")).Code)
	}
	all := func() (list []hubsys.Member) {
		list, err := srv.hub.Clients().All().Members(t.Context())
		require.NoError(t, err)
		return list
	}
	eventually(t, func() bool { return len(all()) == members }, "all are connected")
	for _, m := range all() {
		ids = append(ids, m.ConnectionID)
		require.NoError(t, srv.hub.Groups().Add(t.Context(), m.ConnectionID, "group"))
	}
	again := func(name string) []string { return slices.Repeat([]string{name}, names) }
	for name, audience := range map[string]hubsys.Audience{
		"groups": srv.hub.Clients().Groups(again("group")...), "users": srv.hub.Clients().Users(again("ada")...),
		"connections": srv.hub.Clients().Clients(slices.Repeat(ids, names/members)...),
	} {
		for what, use := range map[string]func() error{
			"Count": func() error {
				n, err := audience.Count(t.Context())
				require.Equal(t, members, n)
				return err
			},
			"Join": func() error { return audience.Join(t.Context(), "another") },
			"Watch": func() error {
				for change := range audience.Watch(t.Context()) {
					require.Len(t, change.Joined, members)
					break
				}
				return nil
			},
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			require.NoError(t, use())
			runtime.ReadMemStats(&after)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2*mib), "bytes for %s of %s", what, name)
		}
	}
}
