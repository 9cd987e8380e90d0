// Package prommetrics passes the metrics of a System on to Prometheus.
//
//	prometheus.MustRegister(prommetrics.Collector(sys))
//	http.Handle("GET /metrics", promhttp.Handler())
package prommetrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/metrics"
)

// Collector returns a collector of the metrics of a System. Their names are those of OpenTelemetry in Prometheus' form: with underscores, the unit at
// the end, and "total" behind counters. To tell several Systems apart, wrap the registry with labels (prometheus.WrapRegistererWith).
func Collector(sys *hubsys.System) prometheus.Collector { return collector{sys} }

type collector struct{ sys *hubsys.System }

// Describe is part of prometheus.Collector. It describes nothing: hubs can be registered at any time.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect is part of prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.sys.Metrics() {
		for _, s := range m.Samples {
			out <- convert(m, s)
		}
	}
}

func convert(m metrics.Metric, s metrics.Sample) prometheus.Metric {
	names, values := make([]string, len(s.Labels)), make([]string, len(s.Labels))
	for i, label := range s.Labels {
		names[i], values[i] = underscored(label.Name), label.Value
	}
	desc := prometheus.NewDesc(name(m), m.Help, names, nil)
	var metric prometheus.Metric
	var err error
	switch m.Kind {
	case metrics.Histogram:
		d := s.Distribution
		buckets := make(map[float64]uint64, len(d.Bounds))
		var sum uint64
		for i, bound := range d.Bounds {
			sum += d.Counts[i]
			buckets[bound] = sum
		}
		metric, err = prometheus.NewConstHistogram(desc, d.Count(), d.Sum, buckets, values...)
	case metrics.Gauge:
		metric, err = prometheus.NewConstMetric(desc, prometheus.GaugeValue, s.Value, values...)
	default:
		metric, err = prometheus.NewConstMetric(desc, prometheus.CounterValue, s.Value, values...)
	}
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return metric
}

// name returns the name of a metric in Prometheus' form.
func name(m metrics.Metric) string {
	parts := []string{underscored(m.Name)}
	switch m.Unit {
	case "s":
		parts = append(parts, "seconds")
	case "By":
		parts = append(parts, "bytes")
	}
	if m.Kind == metrics.Counter {
		parts = append(parts, "total")
	}
	return strings.Join(parts, "_")
}

func underscored(name string) string { return strings.ReplaceAll(name, ".", "_") }
