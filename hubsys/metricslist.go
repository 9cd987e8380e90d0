package hubsys

import (
	"strconv"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/metrics"
	"github.com/troupe-go/troupe/internal/metric"
)

// transportNames are the values of the label signalr.transport: those that the reference has, and one for subscribers.
var transportNames = map[outbox.Kind]string{
	outbox.Socket: "web_sockets", outbox.Stream: "server_sent_events", outbox.Polls: "long_polling", outbox.None: "in_process",
}

// Metrics returns what has been counted until now. It takes a time that is proportional to the number of connections, and can be called at any time.
// Names and labels of what ASP.NET Core SignalR measures as well are the same.
func (s *System) Metrics() []metrics.Metric {
	stats := s.runtime.Stats()
	active := metrics.Metric{Name: "signalr.server.active_connections", Help: "Connections that are open.", Unit: "{connection}", Kind: metrics.Gauge}
	for _, kind := range actors.TransportKinds {
		active.Samples = append(active.Samples, sample(stats.Active[kind], metrics.Label{Name: "signalr.transport", Value: transportNames[kind]}))
	}
	durations := metrics.Metric{Name: "signalr.server.connection.duration", Help: "How long connections were open that have ended.", Unit: "s", Kind: metrics.Histogram}
	for _, d := range stats.Durations {
		durations.Samples = append(durations.Samples, distribution(d.Histogram,
			metrics.Label{Name: "signalr.connection.status", Value: d.Status}, metrics.Label{Name: "signalr.transport", Value: transportNames[d.Kind]}))
	}
	closed := metrics.Metric{Name: "troupe.connections.closed", Help: "Connections that have ended, by their cause.", Unit: "{connection}"}
	for _, cause := range actors.CloseCauses() {
		closed.Samples = append(closed.Samples, sample(stats.Closed[cause], metrics.Label{Name: "cause", Value: cause}))
	}
	one := func(name, help, unit string, kind metrics.Kind, n int64) metrics.Metric {
		return metrics.Metric{Name: name, Help: help, Unit: unit, Kind: kind, Samples: []metrics.Sample{sample(n)}}
	}
	calls := metrics.Metric{
		Name: "troupe.invocation.duration", Unit: "s", Kind: metrics.Histogram,
		Help: "How long calls of hub methods have taken. The method is empty for what the hub does not have.",
	}
	dropped := metrics.Metric{Name: "troupe.messages.dropped", Help: "Messages to slow clients that were dropped, by the reason.", Unit: "{message}"}
	for cause, n := range stats.Drops {
		dropped.Samples = append(dropped.Samples, sample(n, metrics.Label{Name: "reason", Value: outbox.DropNames[cause]}))
	}
	limits := metrics.Metric{Name: "troupe.limits.reached", Help: "How often something was refused because a limit was reached.", Unit: "{refusal}"}
	for i, n := range stats.Limits {
		limits.Samples = append(limits.Samples, sample(n, metrics.Label{Name: "limit", Value: metric.LimitNames[i]}))
	}
	groups := metrics.Metric{Name: "troupe.groups", Help: "Groups that have members.", Unit: "{group}", Kind: metrics.Gauge}
	for _, hub := range stats.Hubs {
		name := metrics.Label{Name: "hub", Value: hub.Name}
		groups.Samples = append(groups.Samples, sample(hub.Groups, name))
		for _, c := range hub.Calls {
			calls.Samples = append(calls.Samples, distribution(c.Histogram, name,
				metrics.Label{Name: "method", Value: c.Method}, metrics.Label{Name: "error", Value: strconv.FormatBool(c.Failed)}))
		}
	}
	all := []metrics.Metric{
		active, durations, closed, calls, groups, dropped, limits,
		one("troupe.connections.resumed", "Connections that have gone on over another WebSocket.", "{connection}", metrics.Counter, stats.Resumed),
		one("troupe.messages.received", "Messages of clients.", "{message}", metrics.Counter, stats.Received),
		one("troupe.messages.sent", "Messages of Send to clients, each counted for every receiver.", "{message}", metrics.Counter, stats.Sent),
		one("troupe.outbox.pending", "Bytes that clients have not taken.", "By", metrics.Gauge, stats.Pending),
		one("troupe.calls.running", "Calls that run or wait in their methods.", "{call}", metrics.Gauge, stats.Running),
		one("troupe.actors.panics", "Panics of connection actors, which go on.", "{panic}", metrics.Counter, stats.Panics),
	}
	if s.plane != nil {
		all = append(all, one("troupe.nodes.ignored", "Messages of other nodes that this one does not understand, or has no hub for.", "{message}", metrics.Counter, stats.Ignored))
	}
	if meter, ok := s.plane.(backplane.Meter); ok {
		all = append(all, meter.Metrics()...)
	}
	return all
}

func sample(n int64, labels ...metrics.Label) metrics.Sample {
	return metrics.Sample{Labels: labels, Value: float64(n)}
}

func distribution(h *metric.Histogram, labels ...metrics.Label) metrics.Sample {
	bounds, counts, sum := h.Read()
	return metrics.Sample{Labels: labels, Distribution: &metrics.Distribution{Bounds: bounds, Counts: counts, Sum: sum}}
}
