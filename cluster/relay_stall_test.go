package cluster

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A client whose body its owner does not read, because its connection has no room, does not hold up the bodies of other clients.
func TestBodiesThatAreNotReadHoldUpNoOthers(t *testing.T) {
	t.Parallel()
	stalled, release := make(chan struct{}, 3), make(chan struct{})
	f, _, _ := relayed(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stall" {
			stalled <- struct{}{}
			<-release
		}
		_, _ = io.Copy(w, r.Body)
	})
	var wait []chan error
	for range cap(stalled) {
		done := make(chan error, 1)
		wait = append(wait, done)
		go func() {
			answer, err := f.Client().Post(f.URL+"/stall", "", bytes.NewReader(make([]byte, 4<<20)))
			if err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
			done <- err
		}()
		<-stalled
	}
	time.Sleep(300 * time.Millisecond) // what can be sent of it has been
	client := http.Client{Timeout: 3 * time.Second}
	answer, err := client.Post(f.URL+"/read", "", strings.NewReader("a small one"))
	if err == nil {
		defer answer.Body.Close()
		var body []byte
		body, err = io.ReadAll(answer.Body)
		require.Equal(t, "a small one", string(body))
	}
	close(release)
	require.NoError(t, err)
	for _, done := range wait {
		require.NoError(t, <-done)
	}
}
