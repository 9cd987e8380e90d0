package cluster

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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

// A client that takes nothing is given up, though its owner has gone and is not read any more: by the end of an answer, and of a WebSocket.
func TestClientsThatDoNotReadAreGivenUp(t *testing.T) {
	t.Parallel()
	const size, sendTime = 16 << 20, 200 * time.Millisecond
	upgraded := raw(func(conn net.Conn, _ *bufio.ReadWriter) {
		_ = conn.SetWriteDeadline(time.Now().Add(sendTime))
		_, _ = conn.Write(make([]byte, size))
		conn.Close()
	})
	_, outer, owner := relayed(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/raw" {
			upgraded(w, r)
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTime))
		_, _ = w.Write(make([]byte, size))
	})
	outer.relays.sendTime = sendTime
	over := make(chan struct{}, 2)
	f := &front{Server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { over <- struct{}{} }()
		assert.NoError(t, outer.relay(owner.id, w, r))
	}))}
	t.Cleanup(f.Close)
	requireOver := func(what string) {
		t.Helper()
		select {
		case <-over:
		case <-time.After(3 * partTime):
			require.Fail(t, what+" is not given up")
		}
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	requireOver("an answer")

	dialRaw(t, f, "")
	requireOver("a WebSocket")
}
