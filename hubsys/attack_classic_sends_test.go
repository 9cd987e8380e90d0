package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Requests with calls of one classic session are in memory while their calls wait, and cannot be as many as its client likes.
func TestCallsOfAClassicClientThatAreOpenAreBounded(t *testing.T) {
	const most, further = 256, 10
	srv := newClassicServer(t, classicConfig{})
	release := make(chan struct{})
	unblock := sync.OnceFunc(func() { close(release) })
	defer unblock()
	srv.handle("wait", func(context.Context, *classicHub, []json.RawMessage) (any, error) { <-release; return nil, nil })
	c := dialClassic(t, srv, "serverSentEvents")
	statuses := make(chan int, most+further)
	for range most + further {
		go func() {
			status, _ := c.request(http.MethodPost, "/send", nil, url.Values{"data": {`{"H":"chat","M":"Do","A":["wait",[]],"I":1}`}})
			statuses <- status
		}()
	}
	for range further {
		require.Equal(t, http.StatusTooManyRequests, receive(t, statuses))
	}
	unblock()
	for range most {
		require.Equal(t, http.StatusOK, receive(t, statuses))
	}
	status, _ := c.request(http.MethodPost, "/send", nil, url.Values{"data": {`{"H":"chat","M":"Nothing","A":[],"I":1}`}})
	require.Equal(t, http.StatusOK, status)
}
