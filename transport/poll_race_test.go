package transport_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node that leaves may end a poll that it has just relayed, when it is the one that opens the connection.
func TestAPollThatOpensItsConnectionIsEnded(t *testing.T) {
	e := newTestEndpoint(t)
	for range 100 {
		token := e.negotiate(t)
		w := httptest.NewRecorder()
		done := e.serve(context.Background(), w, http.MethodGet, token, nil, nil)
		for opened := false; !opened; {
			e.EndPoll(token)
			select {
			case <-done:
				opened = true
			default:
			}
		}
		require.Equal(t, http.StatusOK, w.Code)
	}
}
