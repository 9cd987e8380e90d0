package cluster

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// values returns the samples of a node by name and labels. It fails the test if two have the same.
func (p *meshNode) values(t *testing.T) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for _, m := range p.Metrics() {
		require.NotEmpty(t, m.Help)
		require.NotEmpty(t, m.Unit)
		for _, s := range m.Samples {
			var labels []string
			for _, l := range s.Labels {
				labels = append(labels, l.Name+"="+l.Value)
			}
			name := strings.TrimPrefix(m.Name, "troupe.cluster.") + "{" + strings.Join(labels, ",") + "}"
			require.NotContains(t, all, name, "two samples have the same labels")
			all[name] = s.Value
		}
	}
	return all
}

// subset returns those of all values that are expected, so that the rest is not compared.
func subset(all, expected map[string]float64) map[string]float64 {
	some := map[string]float64{}
	for name := range expected {
		if value, ok := all[name]; ok {
			some[name] = value
		}
	}
	return some
}

func (p *meshNode) measures(t *testing.T, expected map[string]float64) {
	t.Helper()
	assert.Equal(t, expected, subset(p.values(t), expected))
}

func TestMetricsTellWhatIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		a.measures(t, map[string]float64{
			"nodes{state=up}": 1, "nodes{state=down}": 0, "topics{by=this_node}": 0, "topics{by=other_nodes}": 1, "ignored{}": 0,
			"queue{node=b,state=waits}": 0, "queue{node=b,state=sent}": 0, "pressed{node=b}": 0, "messages.lost{direction=to}": 0,
		})
		b.measures(t, map[string]float64{"topics{by=this_node}": 1, "topics{by=other_nodes}": 0})
		m.cut(a.id, b.id)
		a.publish("x", "lost")
		synctest.Wait()
		assert.GreaterOrEqual(t, a.values(t)["queue{node=b,state=sent}"], 4.0)
		time.Sleep(deadAfter)
		synctest.Wait()
		a.measures(t, map[string]float64{"nodes{state=up}": 0, "nodes{state=down}": 1})
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		a.measures(t, map[string]float64{
			"nodes{state=up}": 1, "nodes{state=down}": 0, "queue{node=b,state=sent}": 0,
			"batches.lost{direction=to}": 1, "batches.lost{direction=from}": 0, "messages.lost{direction=to}": 1, "messages.lost{direction=from}": 0,
		})
		b.measures(t, map[string]float64{"batches.lost{direction=from}": 1, "messages.lost{direction=from}": 1, "messages.lost{direction=to}": 0})
	})
}

// Nodes with one name are counted together. What was lost on the way to a node stays counted when the node has gone.
func TestMetricsOfNodesWithOneName(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a := m.start(t, "a")
		var others []*meshNode
		for _, name := range []string{"twin", "twin", ""} {
			p := m.start(t, name)
			p.subscribe("x")
			others = append(others, p)
			m.cut(a.id, p.id)
		}
		a.publish("x", "lost")
		synctest.Wait()
		all := a.values(t)
		assert.Equal(t, 2*all["queue{node=,state=sent}"], all["queue{node=twin,state=sent}"])
		time.Sleep(deadAfter)
		for _, p := range others {
			m.heal(a.id, p.id)
		}
		time.Sleep(helloEvery)
		settle()
		a.measures(t, map[string]float64{"nodes{state=up}": 3, "messages.lost{direction=to}": 3})
		m.kill(others[0].id)
		m.kill(others[2].id)
		time.Sleep(2 * forgetAfter)
		synctest.Wait()
		require.Len(t, a.Status().Peers, 1)
		all = a.values(t)
		assert.Contains(t, all, "queue{node=twin,state=sent}")
		assert.NotContains(t, all, "queue{node=,state=sent}")
		assert.Equal(t, 3.0, all["messages.lost{direction=to}"])
	})
}

func TestStatusIsServedAsJSON(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.cut(a.id, b.id)
		a.publish("x", "lost")
		time.Sleep(deadAfter)
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		b.Drain()
		settle()
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		assert.JSONEq(t, `{
			"ID": "`+a.id.String()+`", "Name": "a", "Up": true, "Address": "", "Members": 1, "MembersUp": 1, "Subscribed": 0, "Interest": 1, "Ignored": 0,
			"LostBatches": 1, "LostMessages": 1, "MissedBatches": 0, "MissedMessages": 0,
			"Peers": [{
				"ID": "`+b.id.String()+`", "Name": "b", "Up": true, "Member": true, "Draining": true, "Refused": "", "Queued": 0, "Unacknowledged": 0, "Pressed": 0,
				"LostBatches": 1, "LostMessages": 1, "MissedBatches": 0, "MissedMessages": 0
			}]
		}`, w.Body.String())
		require.NoError(t, a.Stop(t.Context()))
		assert.False(t, a.Status().Up)
	})
}

// Before it has joined, a node knows of nobody.
func TestStatusBeforeTheStart(t *testing.T) {
	p := &meshNode{Backplane: newMesh().open("a")}
	assert.Equal(t, Status{}, p.Status())
	p.measures(t, map[string]float64{"nodes{state=up}": 0, "nodes{state=down}": 0, "messages.lost{direction=to}": 0})
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	assert.True(t, json.Valid(w.Body.Bytes()))
}
