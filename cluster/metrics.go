package cluster

import (
	"encoding/json"
	"net/http"

	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/metrics"
)

var _ backplane.Meter = (*Backplane)(nil)

// Metrics is what System.Metrics has of the cluster. Values by node are those of all nodes with its name.
func (b *Backplane) Metrics() []metrics.Metric {
	s := b.Status()
	label := func(name, value string) metrics.Label { return metrics.Label{Name: name, Value: value} }
	sample := func(value float64, labels ...metrics.Label) metrics.Sample {
		return metrics.Sample{Labels: labels, Value: value}
	}
	nodes := metrics.Metric{Name: "troupe.cluster.nodes", Help: "Other nodes, by whether they can be reached.", Unit: "{node}", Kind: metrics.Gauge, Samples: []metrics.Sample{
		sample(float64(s.MembersUp), label("state", "up")), sample(float64(s.Members-s.MembersUp), label("state", "down")),
	}}
	topics := metrics.Metric{Name: "troupe.cluster.topics", Help: "Topics, by who wants them.", Unit: "{topic}", Kind: metrics.Gauge, Samples: []metrics.Sample{
		sample(float64(s.Subscribed), label("by", "this_node")), sample(float64(s.Interest), label("by", "other_nodes")),
	}}
	ignored := metrics.Metric{
		Name: "troupe.cluster.ignored", Help: "What other nodes have sent that is of an unknown kind, too large, or for another node.", Unit: "{frame}",
		Samples: []metrics.Sample{sample(float64(s.Ignored))},
	}

	byName := map[string]*PeerStatus{}
	var names []string
	for _, p := range s.Peers {
		sum := byName[p.Name]
		if sum == nil {
			sum = &PeerStatus{}
			byName[p.Name] = sum
			names = append(names, p.Name)
		}
		sum.Queued += p.Queued
		sum.Unacknowledged += p.Unacknowledged
		sum.Pressed += p.Pressed
	}
	queue := metrics.Metric{Name: "troupe.cluster.queue", Help: "Bytes for other nodes, by whether they wait or are unacknowledged.", Unit: "By", Kind: metrics.Gauge}
	pressed := metrics.Metric{Name: "troupe.cluster.pressed", Help: "Topics for which another node has no room.", Unit: "{topic}", Kind: metrics.Gauge}
	for _, name := range names {
		p, node := byName[name], label("node", name)
		queue.Samples = append(queue.Samples, sample(float64(p.Queued), node, label("state", "waits")), sample(float64(p.Unacknowledged), node, label("state", "sent")))
		pressed.Samples = append(pressed.Samples, sample(float64(p.Pressed), node))
	}
	// Not by node: a counter that ended with its node would have to be added to another one, and the losses would be seen twice.
	to, from := label("direction", "to"), label("direction", "from")
	batches := metrics.Metric{
		Name: "troupe.cluster.batches.lost", Help: "Batches of messages that were lost with a connection to another node, by the direction.", Unit: "{batch}",
		Samples: []metrics.Sample{sample(float64(s.LostBatches), to), sample(float64(s.MissedBatches), from)},
	}
	messages := metrics.Metric{
		Name: "troupe.cluster.messages.lost", Help: "Messages that were lost with a connection to another node, by the direction.", Unit: "{message}",
		Samples: []metrics.Sample{sample(float64(s.LostMessages), to), sample(float64(s.MissedMessages), from)},
	}
	return []metrics.Metric{nodes, topics, queue, pressed, batches, messages, ignored}
}

// ServeHTTP answers with the Status as JSON. It is for operators: it shows names and addresses of nodes.
func (b *Backplane) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(b.Status())
}
