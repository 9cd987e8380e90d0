package transport_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/metric"
)

// slowBody is a body that brings some bytes after each pause, and a response that has the read deadline of its connection.
type slowBody struct {
	*httptest.ResponseRecorder
	pause    time.Duration
	bytes    int // with each read
	left     int
	deadline time.Time
}

func (b *slowBody) SetReadDeadline(t time.Time) error { b.deadline = t; return nil }
func (b *slowBody) SetWriteDeadline(time.Time) error  { return nil }
func (b *slowBody) Close() error                      { return nil }

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if !b.deadline.IsZero() && time.Until(b.deadline) < b.pause {
		time.Sleep(time.Until(b.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(b.pause)
	n := min(b.bytes, b.left, len(p))
	b.left -= n
	return copy(p, strings.Repeat("x", n)), nil
}

// A body must bring 240 bytes a second, except for 30 seconds in all.
func TestBodiesHaveAMinimumRate(t *testing.T) {
	for _, test := range []struct {
		name   string
		body   slowBody
		status int
		took   time.Duration
	}{
		{"a byte each 20 seconds", slowBody{pause: 20 * time.Second, bytes: 1, left: 1000}, http.StatusRequestTimeout, 30 * time.Second},
		{"100 bytes a second", slowBody{pause: time.Second, bytes: 100, left: 100_000}, http.StatusRequestTimeout, 51 * time.Second},
		{"300 bytes a second", slowBody{pause: time.Second, bytes: 300, left: 100_000}, http.StatusOK, 334 * time.Second},
		{"one pause of 25 seconds", slowBody{pause: 25 * time.Second, bytes: 1000, left: 1000}, http.StatusOK, 25 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newTestEndpoint(t)
				e.Limits = &metric.Limits{}
				token := e.negotiate(t)
				ctx, cancel := context.WithCancel(t.Context())
				ended := e.serve(ctx, httptest.NewRecorder(), http.MethodGet, token, acceptEvents, nil)
				synctest.Wait()
				body := test.body
				body.ResponseRecorder = httptest.NewRecorder()
				start := time.Now()
				<-e.serve(t.Context(), &body, http.MethodPost, token, nil, &body)
				assert.Equal(t, test.status, body.Code)
				assert.InDelta(t, test.took.Seconds(), time.Since(start).Seconds(), 1)
				assert.Equal(t, test.status == http.StatusRequestTimeout, e.Limits[metric.BodyRate].Load() == 1)
				cancel()
				<-ended
			})
		})
	}
}

// A connection can have 100 open POSTs.
func TestOpenPostsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestEndpoint(t)
		e.Limits = &metric.Limits{}
		token := e.negotiate(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := e.serve(ctx, httptest.NewRecorder(), http.MethodGet, token, acceptEvents, nil)
		synctest.Wait()
		var open []chan struct{}
		for range 100 {
			body := &slowBody{ResponseRecorder: httptest.NewRecorder(), pause: time.Second, bytes: 1, left: 1}
			open = append(open, e.serve(t.Context(), body, http.MethodPost, token, nil, body))
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		<-e.serve(t.Context(), w, http.MethodPost, token, nil, strings.NewReader("x"))
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		assert.Equal(t, "At most 100 POSTs of a connection can be open.", w.Body.String())
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
		assert.EqualValues(t, 1, e.Limits[metric.OpenPosts].Load())
		for _, one := range open {
			<-one
		}
		w = httptest.NewRecorder()
		<-e.serve(t.Context(), w, http.MethodPost, token, nil, strings.NewReader("x"))
		assert.Equal(t, http.StatusOK, w.Code)
		cancel()
		<-ended
	})
}
