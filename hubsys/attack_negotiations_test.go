package hubsys_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const defaultPendingConnections = 1000

// fromAddress returns the header of a request from an address.
func fromAddress(address string) http.Header { return http.Header{addressHeader: {address}} }

const negotiatePath = "/test/negotiate?negotiateVersion=1"

// The number of connections of one address that have no transport yet is limited.
func TestNegotiationsOfOneAddressAreLimited(t *testing.T) {
	t.Parallel()
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	var tokens []string
	for i := range defaultPendingConnections {
		tokens = append(tokens, tokenOf(t, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress(fmt.Sprint("192.0.2.1:", 1000+i))))) // the port does not matter
	}
	refused := serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9"))
	require.Equal(t, http.StatusTooManyRequests, refused.Code)
	seconds, err := strconv.Atoi(refused.Header().Get("Retry-After"))
	require.NoError(t, err, "Retry-After: %q", refused.Header().Get("Retry-After"))
	require.Greater(t, seconds, 0)
	require.LessOrEqual(t, seconds, 15, "by then a connection has expired")
	require.Equal(t, http.StatusTooManyRequests, serveRequest(srv.sys, http.MethodPost, "/test/negotiate", "", fromAddress("192.0.2.1:9")).Code, "of version 0")

	tokenOf(t, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.2:9")))
	tokenOf(t, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("[2001:db8::1]:9")))

	// A connection that has a transport no longer counts.
	for _, token := range tokens[:3] {
		require.Equal(t, http.StatusOK, serveRequest(srv.sys, http.MethodGet, "/test?id="+token, "", fromAddress("192.0.2.1:9")).Code)
	}
	for range 3 {
		tokenOf(t, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9")))
	}
	require.Equal(t, http.StatusTooManyRequests, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9")).Code)
}

// A flood of negotiations from one address does not prevent clients of other addresses from connecting.
func TestAFloodOfNegotiationsDoesNotBlockOtherAddresses(t *testing.T) {
	const rounds, meanwhile = 20 / raceFactor, 11_000 // more than the largest number of unopened connections
	g := &requestCounter{}
	srv := newTestServer(t, testConfig{configure: countRequests(g), EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	var flood, floodBefore atomic.Int64
	stop := make(chan struct{})
	var negotiators sync.WaitGroup
	for range 2 {
		negotiators.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9"))
					flood.Add(1)
				}
			}
		})
	}
	t.Cleanup(negotiators.Wait)
	t.Cleanup(sync.OnceFunc(func() { close(stop) }))
	in := 0
	for i := range rounds {
		otherAddress := fromAddress(fmt.Sprintf("198.51.100.%d:9", i+1))
		_, token := negotiate(t, srv.url, otherAddress)
		floodBefore.Store(flood.Load())
		eventually(t, func() bool { return flood.Load() > floodBefore.Load()+meanwhile }, "further negotiations")
		if p := dialTCP(t, srv.url); p.upgrade("?id="+token, addressHeader+": "+otherAddress.Get(addressHeader)+"\r\n") == http.StatusSwitchingProtocols {
			in++
		}
	}
	require.Equal(t, rounds, in, "connections that were opened")
}

// Connections that get no transport expire without further requests, and the memory of what was posted to them is released.
func TestNegotiatedConnectionsExpireWithoutFurtherRequests(t *testing.T) {
	const negotiated = 4000
	synctest.Test(t, func(t *testing.T) {
		w := &logRecorder{}
		sys := newSystem(t, hubsys.Config{Logger: w.logger()})
		hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
		require.NoError(t, hub.Map("/test", hubsys.EndpointOptions{}))
		body := strings.Repeat("e", 4000)
		taken := 0
		for i := range negotiated {
			address := fromAddress(fmt.Sprintf("192.0.%d.%d:9", i/250, i%250))
			token := tokenOf(t, serveRequest(sys, http.MethodPost, negotiatePath, "", address))
			if serveRequest(sys, http.MethodPost, "/test?id="+token, body, address).Code == http.StatusOK {
				taken++
			}
		}
		require.Equal(t, negotiated, taken)
		before := heapInUse()
		time.Sleep(20 * time.Second) // on the bubble's clock
		synctest.Wait()
		require.Greater(t, before-heapInUse(), negotiated*len(body)/2, "bytes of %d unopened connections are released", negotiated)
	})
}

// Expired connections no longer count towards the limit of their address.
func TestAnAddressMayNegotiateAgainAfterRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem(t, hubsys.Config{})
		hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
		require.NoError(t, hub.Map("/test", hubsys.EndpointOptions{}))
		for range defaultPendingConnections {
			tokenOf(t, serveRequest(sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9")))
		}
		refused := serveRequest(sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9"))
		require.Equal(t, http.StatusTooManyRequests, refused.Code)
		seconds, err := strconv.Atoi(refused.Header().Get("Retry-After"))
		require.NoError(t, err)
		time.Sleep(time.Duration(seconds)*time.Second + 2*time.Second) // on the bubble's clock
		tokenOf(t, serveRequest(sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9")))
	})
}
