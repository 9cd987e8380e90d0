// Package metrics describes what System.Metrics returns: what a System has counted, for whatever collects metrics. Packages hubsys/prommetrics and
// hubsys/otelmetrics pass it on to Prometheus and OpenTelemetry.
package metrics

// Kind is the kind of a metric.
type Kind uint8

// The kinds of metrics.
const (
	Counter   Kind = iota // only grows
	Gauge                 // how many there are now
	Histogram             // how long something took, in seconds
)

// Metric is one metric, with a sample for each combination of labels.
type Metric struct {
	// Name is the name in OpenTelemetry, such as "signalr.server.active_connections". Prometheus has underscores in place of dots.
	Name string
	// Help says what is counted.
	Help string
	// Unit is the unit in UCUM, such as "s", "By" or "{connection}".
	Unit    string
	Kind    Kind
	Samples []Sample
}

// Sample is a value of a metric.
type Sample struct {
	Labels []Label
	// Value is the value of a counter or a gauge.
	Value float64
	// Distribution is the value of a histogram.
	Distribution *Distribution
}

// Label is a name and a value by which samples are told apart. Values come from fixed sets, and never from clients.
type Label struct{ Name, Value string }

// Distribution says how many values lay between bounds.
type Distribution struct {
	Bounds []float64 // upper bounds, ascending
	Counts []uint64  // by bucket, not cumulative; one more than there are bounds
	Sum    float64
}

// Count returns the number of all values.
func (d *Distribution) Count() (n uint64) {
	for _, count := range d.Counts {
		n += count
	}
	return n
}
