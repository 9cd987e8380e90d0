package hubsys_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// reportingHub reports more than a client takes.
type reportingHub struct {
	hubsys.Hub
	result chan error
	waited chan time.Duration
}

func (h *reportingHub) Work(ctx context.Context, p hubsys.Progress[string]) {
	ctx, cancel := context.WithTimeoutCause(ctx, 50*time.Millisecond, context.DeadlineExceeded)
	defer cancel()
	began := time.Now()
	for {
		if err := p.Report(ctx, strings.Repeat("x", 10_000)); err != nil {
			h.waited <- time.Since(began)
			h.result <- err
			return
		}
	}
}

// Report waits for a client that takes nothing for as long as its context allows.
func TestProgressForASlowClient(t *testing.T) {
	result, waited := make(chan error, 1), make(chan time.Duration, 1)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*reportingHub, error) {
		return &reportingHub{result: result, waited: waited}, nil
	}, hubsys.HubOptions{Name: "Chat", OutboxLimit: 64 << 10})
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	served := serve(t, sys, hub)
	c := newClassicClient(t, served[:len(served)-len("/hub")]+"/signalr", "longPolling").begin()
	c.drop() // its polls
	c.send(`{"H":"chat","M":"Work","A":[],"I":1}`)
	require.ErrorIs(t, receive(t, result), context.DeadlineExceeded)
	require.Less(t, receive(t, waited), time.Second)
	c.abort()
}
