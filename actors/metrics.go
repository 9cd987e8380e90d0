package actors

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/metric"
)

// counts is what a System counts.
type counts struct {
	active   [kinds]atomic.Int64 // connections, by the kind of their link
	duration [kinds][statuses]*metric.Histogram
	closed   [len(closeNames)]atomic.Int64
	received *metric.Counter // messages of clients
	sent     *metric.Counter // messages to clients, each counted once for every receiver
	panics   atomic.Int64    // of actors
	resumed  atomic.Int64    // connections that have gone on over another socket
	limits   metric.Limits
}

const kinds = int(outbox.Polls) + 1

// TransportKinds are the kinds of links that connections are counted by. Subscribers have none.
var TransportKinds = [kinds]outbox.Kind{outbox.Socket, outbox.Stream, outbox.Polls, outbox.None}

// statuses of connections that have ended.
const (
	normalClosure = iota
	timedOut
	appShutdown
	statuses
)

// closeNames are the causes for which connections end.
var closeNames = [...]string{
	"normal", "client_timeout", "handshake_timeout", "slow_client", "send_timeout", "expired", "disconnected", "panic", "error",
}

// CloseCauses lists the names of causes in Stats.Closed.
func CloseCauses() []string { return closeNames[:] }

var closeCauses = [...]error{nil, ErrClientTimeout, ErrHandshakeTimeout, ErrSlowClient, ErrSendTimeout, ErrExpired}

// closeIndex returns the index of a cause in closeNames.
func closeIndex(cause error) int {
	if cause == nil {
		return 0
	}
	for i, one := range closeCauses {
		if one != nil && errors.Is(cause, one) {
			return i
		}
	}
	var disconnect *DisconnectError
	var panicked *PanicError
	switch {
	case errors.As(cause, &disconnect):
		return 6
	case errors.As(cause, &panicked), errors.Is(cause, errActorPanicked):
		return 7
	}
	return 8
}

func newCounts() *counts {
	n := &counts{received: metric.NewCounter(), sent: metric.NewCounter()}
	for kind := range n.duration {
		for status := range n.duration[kind] {
			n.duration[kind][status] = metric.NewHistogram(metric.LongBuckets)
		}
	}
	return n
}

// countOpened counts a connection that has its link.
func (c *Connection) countOpened() {
	switch {
	case c.part != nil:
		c.kind = c.part.kind
	case !c.subscriber:
		c.kind = c.out.Kind()
	}
	c.openedAt = uint32(c.hub.sys.now() / time.Second)
	c.hub.sys.counts.active[c.kind].Add(1)
}

// countClosed counts a connection that has ended, once.
func (c *Connection) countClosed() {
	defer c.recoverPanic("the end of a connection panicked")
	var cause error
	if c.closing != nil {
		cause = c.closing.cause
	}
	defer c.hub.handler.Ended(c, cause)
	n := c.hub.sys.counts
	index, status := closeIndex(cause), normalClosure
	switch {
	case c.hub.sys.closing.Load():
		status = appShutdown
	case index >= 1 && index <= 4:
		status = timedOut
	}
	n.active[c.kind].Add(-1)
	n.closed[index].Add(1)
	n.duration[c.kind][status].Observe(c.hub.sys.now() - time.Duration(c.openedAt)*time.Second)
}

// CallTimes are the durations of the calls of one method, of those that succeed and of those that fail.
type CallTimes [2]*metric.Histogram

// CallTimes returns where the calls of a method are counted, or nil if it is not one of Handler.Methods.
func (h *Hub) CallTimes(method string) *CallTimes { return h.calls[method] }

// observe counts a call that has returned.
func (k *Call) observe(duration time.Duration, shard metric.Shard) {
	times := k.times
	if times == nil {
		times = k.conn.hub.otherCalls
	}
	failed := 0
	if k.failed {
		failed = 1
	}
	times[failed].ObserveIn(shard, duration)
}

func newCallTimes() *CallTimes {
	return &CallTimes{metric.NewHistogram(metric.ShortBuckets), metric.NewHistogram(metric.ShortBuckets)}
}

// Limits counts limits that were reached.
func (s *System) Limits() *metric.Limits { return &s.counts.limits }

// MarkFailed says that the call has failed, for metrics.
func (k *Call) MarkFailed() { k.failed = true }

// Stats is what a System has counted.
type Stats struct {
	Active    map[outbox.Kind]int64
	Durations []DurationStats
	Closed    map[string]int64 // by the name of the cause
	Received  int64
	Sent      int64
	Panics    int64
	Ignored   int64 // messages of other nodes
	Resumed   int64
	Pending   int64 // bytes in outboxes
	Drops     outbox.Drops
	Limits    [len(metric.LimitNames)]int64 // how often they were reached
	Running   int64                         // calls, and what else runs on workers
	Hubs      []HubStats
}

// DurationStats are the durations of connections that have ended.
type DurationStats struct {
	Kind   outbox.Kind
	Status string
	*metric.Histogram
}

// HubStats is what is counted of a hub.
type HubStats struct {
	Name   string
	Groups int64
	Calls  []CallStats
}

// CallStats are the durations of calls of a method. The name is empty for all that the hub does not have.
type CallStats struct {
	Method string
	Failed bool
	*metric.Histogram
}

// Stats returns what has been counted until now.
func (s *System) Stats() Stats {
	n := s.counts
	stats := Stats{
		Active: map[outbox.Kind]int64{}, Closed: map[string]int64{},
		Received: n.received.Value(), Sent: n.sent.Value(), Panics: n.panics.Load(), Resumed: n.resumed.Load(), Running: int64(s.workers.busy.Get()),
	}
	if s.nodes != nil {
		stats.Ignored = s.nodes.ignored.Load()
	}
	for _, kind := range TransportKinds {
		stats.Active[kind] = n.active[kind].Load()
		for status, name := range []string{"normal_closure", "timeout", "app_shutdown"} {
			stats.Durations = append(stats.Durations, DurationStats{kind, name, n.duration[kind][status]})
		}
	}
	for i, name := range closeNames {
		stats.Closed[name] = n.closed[i].Load()
	}
	for _, f := range s.flushers {
		for cause, n := range f.Drops() {
			stats.Drops[cause] += n
		}
	}
	for _, c := range s.allConnections() {
		pending, _ := c.out.Pending()
		stats.Pending += int64(pending)
	}
	for i := range stats.Limits {
		stats.Limits[i] = n.limits[i].Load()
	}
	for _, h := range s.allHubs() {
		stats.Hubs = append(stats.Hubs, h.stats())
	}
	return stats
}

func (h *Hub) stats() HubStats {
	stats := HubStats{Name: h.name, Groups: int64(len(h.groups.list()))}
	add := func(method string, times *CallTimes) {
		stats.Calls = append(stats.Calls, CallStats{method, false, times[0]}, CallStats{method, true, times[1]})
	}
	for _, method := range slices.Sorted(maps.Keys(h.calls)) {
		add(method, h.calls[method])
	}
	add("", h.otherCalls)
	return stats
}
