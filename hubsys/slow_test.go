package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A long loop of sends does not disconnect clients that are as fast as most clients: the sender waits for them.
func TestALoopOfSendsDisconnectsNoClientOfASlowLink(t *testing.T) {
	const clients, sends, size, rate = max(2, manyClients/50), 10_000 / raceFactor, 1000, 10_000_000 / 8
	lost := newDisconnectRecorder(clients)
	srv := newTestServer(t, testConfig{configure: useLinkBuffers, onDisconnected: lost.disconnected})
	n := newNumberedBroadcast(size)
	start := time.Now()
	all := n.dialReceivers(t, srv, clients, sends, func() *throttledLink { return newThrottledLink(t, srv.url, rate) })
	for i := range sends {
		n.send(t, srv, i)
	}
	sent := time.Since(start)
	all.requireAll(t)
	took := time.Since(start)
	t.Logf("%d clients got %d MB each in %s: %.1f Mbit/s; the last Send returned after %s", clients, sends*size/1_000_000, took, float64(sends*size*8)/1e6/took.Seconds(), sent)
	require.Empty(t, lost.allCauses())
}

// If all clients are equally slow because they share a slow link, none is disconnected.
func TestClientsOfASharedSlowLinkAreNotDisconnected(t *testing.T) {
	const clients, size, perClient = manyClients / 10, 10_000, 40 << 20 / 100 // bytes a second
	const sends = 3 * perClient / size                                        // for three seconds
	lost := newDisconnectRecorder(clients)
	srv := newTestServer(t, testConfig{configure: useLinkBuffers, onDisconnected: lost.disconnected})
	n := newNumberedBroadcast(size)
	shared := newThrottledLink(t, srv.url, -1)
	all := n.dialReceivers(t, srv, clients, sends, func() *throttledLink { return shared })
	shared.setRate(perClient * clients)
	start := time.Now()
	for i := range sends {
		n.send(t, srv, i)
	}
	sent := time.Since(start)
	all.requireAll(t)
	took := time.Since(start)
	t.Logf("%d clients got %d messages each in %s: %.1f MiB/s of %.1f; the last Send returned after %s",
		clients, sends, took, float64(clients*sends*size)/mib/took.Seconds(), float64(perClient*clients)/mib, sent)
	require.Empty(t, lost.allCauses())
}

// One client that is slower than the others delays senders by a second at most, and does not affect the other clients otherwise.
func TestOneSlowClientDoesNotDelayOthersForLong(t *testing.T) {
	for _, rate := range []int{0, 10 << 10, 100 << 10, 600 << 10} {
		t.Run(fmt.Sprint(rate>>10, "KiB/s"), func(t *testing.T) { oneSlowClient(t, rate) })
	}
}

func oneSlowClient(t *testing.T, rate int) {
	const clients, size = manyClients / 5, 10_000
	const pace = 5 * time.Millisecond // 2 MB/s
	const without, with = 80, 160     // messages
	lost := newDisconnectRecorder(clients + 1)
	srv := newTestServer(t, testConfig{configure: useLinkBuffers, onDisconnected: lost.disconnected})
	n := newNumberedBroadcast(size)
	all := n.dialReceivers(t, srv, clients, without+with, nil)
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	send := func(first, last int) (took []time.Duration) {
		for i := first; i < last; i++ {
			<-ticker.C
			took = append(took, n.send(t, srv, i))
		}
		return took
	}

	before := send(0, without)
	l := newThrottledLink(t, srv.url, -1)
	slow := dialWith(t, srv.url+"?name=slow", dialOptions{client: l.client})
	l.setRate(rate)
	type prefix struct {
		got int
		err error
	}
	read := make(chan prefix, 1)
	go func() {
		latencies, err := n.receive(slow, without, without+with)
		read <- prefix{len(latencies), err}
	}()
	beside := send(without, without+with)
	all.requireAll(t)
	l.setRate(-1) // deliver the rest at once
	slowGot := receive(t, read)

	end := "got everything"
	if slowGot.err != nil {
		require.Equal(t, "slow", receive(t, lost.names), "%s", slowGot.err)
		cause := lost.allCauses()["slow"]
		end = fmt.Sprintf("got %d and was disconnected: %v", slowGot.got, cause)
		require.Truef(t, isSlowClientError(cause), "%v, after %d: %v", cause, slowGot.got, slowGot.err)
	} else {
		require.Equal(t, with, slowGot.got)
	}
	require.Empty(t, lost.names, "no other client was disconnected")

	held := sum(beside) - sum(before)*with/without
	var fast, disturbed []time.Duration
	for _, latencies := range all.latencies {
		fast, disturbed = append(fast, latencies[:without]...), append(disturbed, latencies[without:]...)
	}
	a, b := percentile(fast, .99), percentile(disturbed, .99)
	t.Logf("the slow one %s; Sends were held for %s; p50 %s and %s; p99 of %d others %s without it and %s with it: %.2f times",
		end, held, percentile(fast, .5), percentile(disturbed, .5), clients, a, b, float64(b)/float64(a))
	require.Less(t, held, 2*time.Second+5*time.Second)
}

// While a client downloads a large result over a slow link, broadcasts are neither lost nor delayed.
func TestASlowDownloadDoesNotDelayBroadcasts(t *testing.T) {
	const rate, pace, size = 300 << 10, 100 * time.Millisecond, 100
	const length = 4 << 20 / raceFactor
	lost := newDisconnectRecorder(2)
	srv := newTestServer(t, testConfig{configure: useLinkBuffers, onDisconnected: lost.disconnected})
	result := strings.Repeat("r", length)
	srv.handle("report", func(context.Context, *testHub, []json.RawMessage) (any, error) { return result, nil })
	l := newThrottledLink(t, srv.url, -1)
	c := dialWith(t, srv.url+"?name=slow", dialOptions{client: l.client})
	other := dialWith(t, srv.url+"?name=other", dialOptions{})
	l.setRate(rate)
	payload := strings.Repeat("x", size)
	start := time.Now()
	id := c.call("Do", "report", []any{})

	downloaded := make(chan error, 1)
	var early int // broadcasts that came before the result
	go func() {
		for {
			r, err := c.tryNext()
			if err == nil && r.Type == 1 {
				if want := serverInvocation("n", early, payload); r.raw != want {
					err = fmt.Errorf("%q instead of %q", r.raw, want)
				}
				early++
			}
			if err == nil && r.Type == 3 && (r.InvocationID != id || string(r.Result) != `"`+result+`"`) {
				err = fmt.Errorf("%.100q is not the result", r.raw)
			}
			if err != nil || r.Type == 3 {
				downloaded <- err
				return
			}
		}
	}()
	sends, held := 0, time.Duration(0)
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for done := false; !done; {
		select {
		case err := <-downloaded:
			require.NoError(t, err)
			done = true
		case <-ticker.C:
			begin := time.Now()
			require.NoError(t, srv.hub.Clients().All().Send(context.Background(), "n", sends, payload))
			held += time.Since(begin)
			sends++
		}
	}
	took := time.Since(start)
	t.Logf("%d KiB took %s: %.0f KiB/s; %d broadcasts, %d of them before the result; Sends took %s in all", length>>10, took, float64(length>>10)/took.Seconds(), sends, early, held)
	require.Less(t, held, took/2, "Sends were held")
	for i := early; i < sends; i++ {
		c.requireInvocation("n", i, payload)
	}
	for i := range sends {
		other.requireInvocation("n", i, payload)
	}
	require.Empty(t, lost.allCauses())
}

// isSlowClientError reports whether a client was disconnected because it was slow.
func isSlowClientError(cause error) bool {
	return errors.Is(cause, hubsys.ErrSlowClient) || errors.Is(cause, hubsys.ErrSendTimeout)
}
