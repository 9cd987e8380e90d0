package cluster

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A client of net/http begins requests before it knows how many the server takes, and those with bodies cannot be repeated.
func TestABurstOverANewConnection(t *testing.T) {
	for range 3 {
		var all sync.WaitGroup
		all.Add(100)
		_, outer, owner := relayed(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			all.Done()
			all.Wait() // so that all are open at once
			_, _ = w.Write(body)
		})
		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() {
				w := httptest.NewRecorder()
				if !assert.NoError(t, outer.relay(owner.id, w, httptest.NewRequest(http.MethodPost, "/post", io.NopCloser(strings.NewReader("a call"))))) {
					all.Done()
				}
			})
		}
		clients.Wait()
	}
}
