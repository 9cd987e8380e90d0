package hubsys

import (
	"context"
	"net/http"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// Drain is a [System.Shutdown] that spreads the reconnects of clients over time, so that the servers that they come to are not overrun. It refuses new
// connections with status 503 and Retry-After, and closes those that there are in a random order, over about as much time as pace says. Their
// clients reconnect; calls that have been received are executed. Then it shuts down. If pace is longer than three quarters of the time until the
// deadline of ctx, these are used. It returns early when Shutdown has been called meanwhile and is over, and a hub method may call it, as Shutdown.
// A client that loses its WebSocket before its connection is closed may come back with stateful reconnect.
//
//	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
//	defer cancel()
//	err := errors.Join(sys.Drain(ctx, 30*time.Second), server.Shutdown(ctx))
func (s *System) Drain(ctx context.Context, pace time.Duration) error {
	s.close()
	if plane, ok := s.plane.(backplane.Drainer); ok {
		plane.Drain()
	}
	s.endPolls(ctx)
	return s.runtime.Drain(ctx, pace)
}

// Livez is a handler for checks of liveness: it answers with status 200, or 503 if the System does not look after its connections any more, and
// should be replaced.
func (s *System) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerHealth(w, s.runtime.IsLive(), "the heartbeat has stopped")
	})
}

// Readyz is a handler for checks of readiness: it answers with status 200, or 503 when Drain or Shutdown has begun, so that load balancers send
// new clients elsewhere.
func (s *System) Readyz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerHealth(w, !s.isClosing(), "the system is shutting down")
	})
}

func answerHealth(w http.ResponseWriter, ok bool, why string) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Cache-Control", "no-store")
	if ok {
		why = "ok"
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(why))
}
