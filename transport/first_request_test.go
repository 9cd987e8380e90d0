package transport_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/transport"
)

// Of several concurrent requests, one opens the connection. The others are refused, and do not affect it.
func TestManyFirstRequestsAtOnce(t *testing.T) {
	requireNoLeaks(t)
	e := newTestEndpoint(t)
	for opened := range 500 {
		const n = 8
		token := e.negotiate(t)
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		refused := make(chan struct{}, n)
		var recorders []*httptest.ResponseRecorder
		var all []chan struct{}
		for i := range n {
			w, header := httptest.NewRecorder(), acceptEvents
			if i%2 == 1 {
				header = nil
			}
			recorders = append(recorders, w)
			done := e.serve(ctx, w, http.MethodGet, token, header, nil)
			all = append(all, done)
			go func() {
				<-done
				refused <- struct{}{}
			}()
		}
		for range n - 1 { // the stream remains open, or one of the polls waits
			receive(t, refused)
		}
		cancel()
		streams, statuses := 0, map[int]int{}
		for i, done := range all {
			receive(t, done)
			w := recorders[i]
			statuses[w.Code]++
			if i%2 == 0 && w.Code == http.StatusOK {
				require.Equal(t, "text/event-stream", w.Result().Header.Get("Content-Type"), "the response is an event stream")
				streams++
			}
		}
		// If a stream wins, the other streams get 409 and the polls 400. If a poll wins, it gets 200, the last poll waits, and the others
		// get 204.
		want := map[int]int{http.StatusOK: 2, http.StatusNoContent: n/2 - 2, http.StatusBadRequest: n / 2}
		if streams > 0 {
			want = map[int]int{http.StatusOK: 1, http.StatusConflict: n/2 - 1, http.StatusBadRequest: n / 2}
		}
		require.Equal(t, want, statuses)
		require.EqualValues(t, opened+1, e.rooms.Load(), "requests that were refused give up the room for a connection")
	}
}

// A connection may expire while its first request is being authenticated.
func TestAConnectionMayExpireDuringItsFirstRequest(t *testing.T) {
	for name, header := range map[string]http.Header{"events": acceptEvents, "poll": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newTestEndpoint(t)
				e.Tokens.Limit = 1
				token := e.negotiate(t)
				e.authenticate = func(*http.Request) (transport.Identity, error) {
					e.authenticate = nil
					e.negotiate(t) // another negotiation, which makes the first connection expire
					return transport.Identity{}, nil
				}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				w := httptest.NewRecorder()
				done := e.serve(ctx, w, http.MethodGet, token, header, nil)
				synctest.Wait()
				select {
				case <-done:
				default:
					require.FailNow(t, "the request is not answered")
				}
				require.Equal(t, http.StatusNotFound, w.Code)
				require.Zero(t, e.rooms.Load(), "the room for the connection is given up")
			})
		})
	}
}
