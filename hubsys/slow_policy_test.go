package hubsys_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A client that takes nothing meets the policy of the hub or of the message, stays connected, and delays nobody; others get everything.
func TestSlowClientsMeetTheirPolicy(t *testing.T) {
	same := func(a hubsys.Audience, _ int) hubsys.Audience { return a }
	for _, test := range []struct {
		name    string
		options hubsys.HubOptions
		to      func(a hubsys.Audience, i int) hubsys.Audience
		reason  string
		end     bool // the slow client gets what was sent last, not what was sent first
	}{
		{"the hub's, the oldest", hubsys.HubOptions{SlowClients: hubsys.DropOldest}, same, "oldest", true},
		{"the hub's, the newest", hubsys.HubOptions{SlowClients: hubsys.DropNewest}, same, "newest", false},
		{"the oldest", hubsys.HubOptions{}, func(a hubsys.Audience, _ int) hubsys.Audience { return a.IfSlow(hubsys.DropOldest) }, "oldest", true},
		{"the newest", hubsys.HubOptions{}, func(a hubsys.Audience, _ int) hubsys.Audience { return a.IfSlow(hubsys.DropNewest) }, "newest", false},
		{"the latest of three", hubsys.HubOptions{}, func(a hubsys.Audience, i int) hubsys.Audience { return a.Latest(strconv.Itoa(i % 3)) }, "replaced", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const size, sends = 10_000, 600
			test.options.OutboxLimit = 256 << 10
			lost := newDisconnectRecorder(3)
			srv := newTestServer(t, testConfig{
				HubOptions: test.options, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Hour}, // the client is no dead one, however long this takes
				configure: useLinkBuffers, onDisconnected: lost.disconnected,
			})
			fast := []*testClient{dial(t, srv.url), dial(t, srv.url)}
			l := newThrottledLink(t, srv.url, -1)
			id, token := negotiate(t, srv.url, nil)
			slow := dialWith(t, srv.url+"?id="+token, dialOptions{client: l.client})
			l.setRate(0)
			payload := strings.Repeat("x", size)
			for i := range sends {
				require.NoError(t, test.to(srv.hub.Clients().All(), i).Send(t.Context(), "n", i, payload))
				for _, c := range fast {
					if test.reason == "replaced" { // what they have not got yet is replaced as well
						continue
					}
					require.Equal(t, i, numberOf(t, c.next()))
				}
			}
			eventually(t, func() bool {
				return test.reason == "replaced" || strings.Count(srv.log.String(), "messages to a slow client are dropped") == 1
			}, "that is logged once")
			l.setRate(-1)
			sent := make(chan error, 1)
			go func() { // waits for room, and is not dropped
				sent <- srv.hub.Clients().Client(id).Send(t.Context(), "n", sends, payload)
			}()
			var got []int
			for len(got) == 0 || got[len(got)-1] != sends {
				got = append(got, numberOf(t, slow.next()))
			}
			require.NoError(t, <-sent)
			t.Logf("the slow client got %d of %d", len(got), sends)
			require.True(t, slices.IsSorted(got), "%v", got)
			require.Less(t, len(got), sends)
			if test.end {
				require.Subset(t, got, []int{sends - 3, sends - 2, sends - 1})
			} else {
				require.Equal(t, 20, got[20], "what was queued first is kept: %v", got)
			}
			if test.reason != "replaced" {
				require.EqualValues(t, sends+1-len(got), droppedFor(srv, test.reason))
			}
			require.Positive(t, droppedFor(srv, test.reason))
			require.Empty(t, lost.allCauses())
		})
	}
}

func numberOf(t *testing.T, m serverMessage) (n int) {
	t.Helper()
	_, err := fmt.Sscanf(m.raw, `{"type":1,"target":"n","arguments":[%d,`, &n)
	require.NoError(t, err, "%.200s", m.raw)
	return n
}

// droppedFor returns how many messages were dropped for a reason.
func droppedFor(srv *testServer, reason string) float64 {
	return valuesOf(srv.sys, "troupe.messages.dropped")[reason]
}

// valuesOf returns the values of a metric that are not 0, by its first label.
func valuesOf(sys *hubsys.System, metric string) map[string]float64 {
	values := map[string]float64{}
	for _, m := range sys.Metrics() {
		if m.Name == metric {
			for _, s := range m.Samples {
				if s.Value != 0 {
					values[s.Labels[0].Value] += s.Value
				}
			}
		}
	}
	return values
}

// What waits for clients that have stopped reading is bounded by their OutboxLimit, whatever the policy.
func TestMemoryOfClientsThatStopReading(t *testing.T) {
	const clients, size, limit = 500 / raceFactor, 20_000, 64 << 10
	const offered = 300 << 20 / raceFactor // three seconds of 100 MB each
	for _, policy := range []hubsys.SlowPolicy{hubsys.DisconnectSlow, hubsys.DropOldest, hubsys.DropNewest} {
		t.Run(policy.String(), func(t *testing.T) {
			srv := newTestServer(t, testConfig{
				HubOptions: hubsys.HubOptions{OutboxLimit: limit}, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Hour}, configure: useLinkBuffers,
				Config: hubsys.Config{MaximumConnectionsPerAddress: hubsys.Unlimited, PendingConnectionsPerAddress: hubsys.Unlimited},
			})
			l := newThrottledLink(t, srv.url, -1)
			for range clients {
				dialWith(t, srv.url, dialOptions{client: l.client})
			}
			l.setRate(0)
			before := heapAfterGC()
			members, err := srv.hub.Clients().All().Members(t.Context())
			require.NoError(t, err)
			payload := strings.Repeat("x", size)
			start := time.Now()
			for i := 0; i*size < offered; i++ { // a payload for each, so that nothing is shared
				to := srv.hub.Clients().Client(members[i%clients].ConnectionID)
				require.NoError(t, to.IfSlow(policy).Send(t.Context(), "n", i, payload))
			}
			took := time.Since(start)
			grown := int64(heapAfterGC()) - int64(before)
			t.Logf("%d MB offered in %s: the heap has grown by %d MB", offered>>20, took, grown>>20)
			require.LessOrEqual(t, grown, int64(clients*limit+64<<20))
			l.setRate(-1)
		})
	}
}

func heapAfterGC() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
