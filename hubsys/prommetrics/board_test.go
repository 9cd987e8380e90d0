package prommetrics_test

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/cluster"
	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/prommetrics"
)

// joinCluster starts a System that is a node, and returns where others find it.
func joinCluster(t *testing.T, seeds ...string) (sys *hubsys.System, address string) {
	t.Helper()
	node, err := cluster.New(cluster.Config{Bind: "127.0.0.1:0", Seeds: seeds, Insecure: true})
	require.NoError(t, err)
	sys, err = hubsys.New(hubsys.Config{Backplane: node})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sys.Shutdown(context.Background())) })
	return sys, node.Status().Address
}

// The Grafana board shows each metric by its name and labels, and nothing that there is not.
func TestTheBoardShowsAllMetrics(t *testing.T) {
	sys, address := joinCluster(t)
	joinCluster(t, address) // some metrics are by other nodes
	_, err := hubsys.Register[*Chat](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(prommetrics.Collector(sys)))
	families, err := registry.Gather()
	require.NoError(t, err)
	labels := map[string][]string{} // by metric
	for _, f := range families {
		labels[f.GetName()] = []string{"job", "instance", "le"}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[f.GetName()] = append(labels[f.GetName()], l.GetName())
		}
	}

	text, err := os.ReadFile("../../docs/grafana.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &board))
	shown := map[string]bool{}
	name, by := regexp.MustCompile(`\b((?:signalr|troupe)_\w+?)(?:_bucket|_count)?\{`), regexp.MustCompile(`by \(([^)]*)\)`)
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			m := name.FindStringSubmatch(target.Expr)
			require.NotNil(t, m, target.Expr)
			require.Contains(t, labels, m[1], p.Title)
			shown[m[1]] = true
			if b := by.FindStringSubmatch(target.Expr); b != nil {
				for _, label := range regexp.MustCompile(`\w+`).FindAllString(b[1], -1) {
					assert.Contains(t, labels[m[1]], label, target.Expr)
				}
			}
		}
	}
	for _, f := range families {
		assert.True(t, shown[f.GetName()], f.GetName())
	}
}
