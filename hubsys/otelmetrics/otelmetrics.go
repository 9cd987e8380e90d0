// Package otelmetrics passes the metrics of a System on to OpenTelemetry.
//
//	registration, err := otelmetrics.Register(sys, otel.Meter("chat"))
//
// Histograms become three counters each, for lack of histograms that are observed from outside in OpenTelemetry's API: name.count, name.sum, and
// name.bucket with a label le, as in Prometheus. Where Prometheus is what collects, package prommetrics keeps them whole.
package otelmetrics

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/metrics"
)

// Register has a meter observe the metrics of a System, until Unregister of what it returns is called.
func Register(sys *hubsys.System, meter metric.Meter) (metric.Registration, error) {
	o := &observer{sys: sys, instruments: map[string]metric.Float64Observable{}}
	var all []metric.Observable
	for _, m := range sys.Metrics() {
		for _, part := range partsOf(m) {
			instrument, err := newInstrument(meter, part, m)
			if err != nil {
				return nil, fmt.Errorf("otelmetrics: %w", err)
			}
			o.instruments[part.name] = instrument
			all = append(all, instrument)
		}
	}
	return meter.RegisterCallback(o.observe, all...)
}

// part is an instrument that a metric, or a part of a histogram, becomes.
type part struct {
	name, unit string
	gauge      bool
}

func partsOf(m metrics.Metric) []part {
	if m.Kind == metrics.Histogram {
		return []part{{name: m.Name + ".count", unit: "1"}, {name: m.Name + ".sum", unit: m.Unit}, {name: m.Name + ".bucket", unit: "1"}}
	}
	return []part{{name: m.Name, unit: m.Unit, gauge: m.Kind == metrics.Gauge}}
}

func newInstrument(meter metric.Meter, p part, m metrics.Metric) (metric.Float64Observable, error) {
	if p.gauge {
		return meter.Float64ObservableUpDownCounter(p.name, metric.WithUnit(p.unit), metric.WithDescription(m.Help))
	}
	return meter.Float64ObservableCounter(p.name, metric.WithUnit(p.unit), metric.WithDescription(m.Help))
}

type observer struct {
	sys         *hubsys.System
	mu          sync.Mutex // callbacks may run at once
	instruments map[string]metric.Float64Observable
}

func (o *observer) observe(_ context.Context, out metric.Observer) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.sys.Metrics() {
		for _, s := range m.Samples {
			labels := make([]attribute.KeyValue, len(s.Labels))
			for i, label := range s.Labels {
				labels[i] = attribute.String(label.Name, label.Value)
			}
			put := func(name string, value float64, more ...attribute.KeyValue) {
				if instrument := o.instruments[name]; instrument != nil {
					out.ObserveFloat64(instrument, value, metric.WithAttributes(append(labels[:len(labels):len(labels)], more...)...))
				}
			}
			if m.Kind != metrics.Histogram {
				put(m.Name, s.Value)
				continue
			}
			d := s.Distribution
			put(m.Name+".count", float64(d.Count()))
			put(m.Name+".sum", d.Sum)
			var sum uint64
			for i, count := range d.Counts {
				sum += count
				le := "+Inf"
				if i < len(d.Bounds) {
					le = strconv.FormatFloat(d.Bounds[i], 'g', -1, 64)
				}
				put(m.Name+".bucket", float64(sum), attribute.String("le", le))
			}
		}
	}
	return nil
}
