package otelmetrics_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/metrics"
	"github.com/troupe-go/troupe/hubsys/otelmetrics"
)

type Chat struct{ hubsys.Hub }

func (*Chat) Echo(s string) string { return s }

// What the official SDK reads has every metric, also of hubs that are registered later.
func TestMetricsAreObserved(t *testing.T) {
	sys, err := hubsys.New(hubsys.Config{})
	require.NoError(t, err)
	defer sys.Shutdown(context.Background())
	reader := sdk.NewManualReader()
	registration, err := otelmetrics.Register(sys, sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("test"))
	require.NoError(t, err)
	_, err = hubsys.Register[*Chat](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)

	read := func() map[string]metricdata.Metrics {
		var all metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(context.Background(), &all))
		byName := map[string]metricdata.Metrics{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				byName[m.Name] = m
			}
		}
		return byName
	}
	got := read()
	for _, m := range sys.Metrics() {
		if m.Kind == metrics.Histogram {
			assert.Contains(t, got, m.Name+".count")
			assert.Contains(t, got, m.Name+".bucket")
			continue
		}
		assert.Contains(t, got, m.Name)
		assert.Equal(t, m.Unit, got[m.Name].Unit)
	}
	calls, ok := got["troupe.invocation.duration.count"].Data.(metricdata.Sum[float64])
	require.True(t, ok)
	assert.True(t, calls.IsMonotonic)
	assert.Len(t, calls.DataPoints, 4, "of Echo and of what is no method, with and without an error")
	require.NoError(t, registration.Unregister())
	assert.Empty(t, read())
}
