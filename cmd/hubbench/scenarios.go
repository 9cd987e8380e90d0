package main

import (
	"slices"
	"strings"
	"time"
)

// scenario is one way to use a server.
type scenario struct {
	name     string
	baseline string // the baseline that it is compared with; "": none
	beside   string // the scenario that it is compared with, which stands above it; "": none
	full     bool   // it is left out of a core run
	load     load
	targets  []target
}

// target is what Troupe shall reach in one figure: a ratio to what others reach in the same run, or a value. 0: no target.
type target struct {
	of                         *metric
	baseline, original, beside float64
	value                      float64
}

// load is what clients do.
type load struct {
	kind        kind
	connections int           // 0: one for each node but one
	rate        float64       // messages, or connections, a second; 0: as many as there can be
	depth       int           // calls of a connection that are under way
	perMessage  int           // calls in one WebSocket message
	protocol    protocol      // which baselines do not have: theirs is JSON
	bytes       int           // of the text of a message, or in addition to what it has
	groups      int           // messages go to one of them after the other
	deaf        int           // connections that do not read
	negotiated  bool          // connections are negotiated
	elsewhere   bool          // connections are at the nodes that do not send
	windows     int           // how often the window is measured that others have, if not once
	lazy        time.Duration // between two looks at the sockets: makes the clients cheap, and latency coarse
}

type kind int

const (
	broadcast kind = iota
	echo
	stream // calls that are answered with streamed items
	idle
	flood    // broadcasts, as many as there can be
	each     // messages for one connection after the other, as many as there can be
	across   // calls that send a message to a connection, at another node if there are some
	connects // connections that are opened and closed, at different nodes if there are some
	churn    // connections that join a group, call and leave, for a long time
)

// streamed is how many items a stream has.
const streamed = 10000

const (
	rawLoop  = "raw loop"
	bareEcho = "bare echo"
	oneNode  = "Troupe" // which is the baseline of what several nodes do
	original = "original"
)

func isBaseline(name string) bool { return name == rawLoop || name == bareEcho }

// tick is how often clients look at their sockets where CPU counts, and not latency.
const tick = time.Millisecond

var scenarios = []scenario{
	{name: "broadcast 1,000 × 50/s", baseline: rawLoop,
		load:    load{kind: broadcast, connections: 1000, rate: 50, lazy: tick},
		targets: []target{{of: cpuEach, baseline: 1, original: 0.6}}},
	{name: "broadcast 1,000 × 50/s, MessagePack", beside: "broadcast 1,000 × 50/s",
		load:    load{kind: broadcast, connections: 1000, rate: 50, lazy: tick, protocol: packed},
		targets: []target{{of: cpuEach, beside: 1.05}}},
	{name: "broadcast 1,000 × 2,000/s", baseline: rawLoop,
		load:    load{kind: broadcast, connections: 1000, rate: 2000, lazy: tick},
		targets: []target{{of: cpuEach, baseline: 0.11, original: 0.65}, {of: p99, original: 0.6}, {of: reached, value: 0.99}}},
	{name: "broadcast 1,000 × 2,000/s, MessagePack", beside: "broadcast 1,000 × 2,000/s", full: true,
		load:    load{kind: broadcast, connections: 1000, rate: 2000, lazy: tick, protocol: packed},
		targets: []target{{of: cpuEach, beside: 1.05}}},
	{name: "broadcast 1,000, highest rate", baseline: rawLoop,
		load:    load{kind: broadcast, connections: 1000, lazy: tick},
		targets: []target{{of: perSecond, original: 1.5}}},
	{name: "groups of 10, 10,000, 5,000/s", baseline: rawLoop,
		load:    load{kind: broadcast, connections: 10000, groups: 1000, rate: 5000, lazy: tick},
		targets: []target{{of: cpuEach, baseline: 1.6, original: 0.65}}},
	{name: "to one of 1,000 by id, highest rate",
		load:    load{kind: each, connections: 1000, bytes: 100, lazy: tick},
		targets: []target{{of: perSecond, original: 2}}},
	{name: "echo, depth 1, 200", baseline: bareEcho,
		load:    load{kind: echo, connections: 200, depth: 1, perMessage: 1},
		targets: []target{{of: cpuEach, baseline: 1.6, original: 0.67}}},
	{name: "echo, depth 1, 200, MessagePack", beside: "echo, depth 1, 200",
		load:    load{kind: echo, connections: 200, depth: 1, perMessage: 1, protocol: packed},
		targets: []target{{of: cpuEach, beside: 1.2}}},
	{name: "echo, depth 8, 200", baseline: bareEcho,
		load:    load{kind: echo, connections: 200, depth: 8, perMessage: 1},
		targets: []target{{of: cpuEach, baseline: 1.15, original: 0.7}}},
	{name: "echo, 8 per message, 200", baseline: bareEcho,
		load:    load{kind: echo, connections: 200, depth: 8, perMessage: 8},
		targets: []target{{of: cpuEach, baseline: 2.3, original: 0.72}}},
	{name: "echo, 8 per message, 200, MessagePack", beside: "echo, 8 per message, 200", full: true,
		load:    load{kind: echo, connections: 200, depth: 8, perMessage: 8, protocol: packed},
		targets: []target{{of: cpuEach, beside: 1.2}}},
	{name: "streams of 10,000, 50",
		load:    load{kind: stream, connections: 50, depth: streamed, perMessage: streamed, lazy: tick},
		targets: []target{{of: cpuEach, original: 0.5}}},
	{name: "connects, negotiated",
		load:    load{kind: connects, negotiated: true},
		targets: []target{{of: cpuEach, original: 0.42}}},
	{name: "connects", baseline: bareEcho,
		load:    load{kind: connects},
		targets: []target{{of: cpuEach, original: 0.42}}},
	{name: "idle, 10,000", baseline: bareEcho,
		load:    load{kind: idle, connections: 10000},
		targets: []target{{of: memoryEach, original: 0.47, value: 10240}, {of: goroutinesEach, value: 1.01}, {of: cpuEach, value: 2}}},
	// Sockets that nobody reads are full when 2.8 MB have been sent to each, which is after two seconds.
	{name: "broadcast 200 × 100/s, 16 KB",
		load: load{kind: broadcast, connections: 200, rate: 100, bytes: 16 << 10, lazy: tick, windows: 3}},
	{name: "broadcast 200 × 100/s, 16 KB, 1 does not read", beside: "broadcast 200 × 100/s, 16 KB",
		load:    load{kind: broadcast, connections: 200, rate: 100, bytes: 16 << 10, lazy: tick, windows: 3, deaf: 1},
		targets: []target{{of: p99, beside: 1.3}}},

	{name: "broadcast 1,000 × 50/s, SignalR 2", baseline: rawLoop, full: true,
		load: load{kind: broadcast, connections: 1000, rate: 50, lazy: tick, protocol: classic}},
	{name: "broadcast 1,000 × 2,000/s, SignalR 2", baseline: rawLoop, full: true,
		load: load{kind: broadcast, connections: 1000, rate: 2000, lazy: tick, protocol: classic}},
	{name: "to one of 1,000 by id, highest rate, SignalR 2", full: true,
		load: load{kind: each, connections: 1000, bytes: 100, lazy: tick, protocol: classic}},
	{name: "echo, depth 1, 200, SignalR 2", baseline: bareEcho, full: true,
		load: load{kind: echo, connections: 200, depth: 1, perMessage: 1, protocol: classic}},
	{name: "idle, 10,000, SignalR 2", baseline: bareEcho, full: true,
		load: load{kind: idle, connections: 10000, protocol: classic}},

	{name: "nodes: to a connection of each other, 100 B", baseline: oneNode, full: true,
		load: load{kind: flood, bytes: 100, elsewhere: true, lazy: tick}},
	{name: "nodes: to a connection of each other, 1 KB", baseline: oneNode, full: true,
		load: load{kind: flood, bytes: 1000, elsewhere: true, lazy: tick}},
	{name: "nodes: broadcast 1,000 × 50/s", baseline: oneNode, full: true,
		load: load{kind: broadcast, connections: 1000, rate: 50, lazy: tick}},
	{name: "nodes: broadcast 1,000 × 2,000/s", baseline: oneNode, full: true,
		load: load{kind: broadcast, connections: 1000, rate: 2000, lazy: tick}},
	{name: "nodes: to 1,000 connections of others one by one, 100 B", baseline: oneNode, full: true,
		load: load{kind: each, connections: 1000, bytes: 100, elsewhere: true, lazy: tick}},
	{name: "nodes: to a connection of each other, 200/s", baseline: oneNode, full: true,
		load: load{kind: broadcast, rate: 200, elsewhere: true}},
	{name: "nodes: call answered by a send of another, 1", baseline: oneNode, full: true,
		load: load{kind: across, connections: 1, depth: 1, perMessage: 1, elsewhere: true}},
	{name: "nodes: call answered by a send of another, 200", baseline: oneNode, full: true,
		load: load{kind: across, connections: 200, depth: 1, perMessage: 1, elsewhere: true}},
	{name: "nodes: connects, negotiated at another", baseline: oneNode, full: true,
		load: load{kind: connects, negotiated: true}},
	{name: "nodes: idle, 10,000", baseline: oneNode, full: true,
		load: load{kind: idle, connections: 10000}},

	{name: "churn, 200/s", full: true,
		load:    load{kind: churn, rate: 200},
		targets: []target{{of: growth, value: 1.05}, {of: left, value: 0}}},
}

// pingPeriod is the window in which connections do nothing: it contains all pings, which servers send every 15 s.
const pingPeriod = 16 * time.Second

// isNodes reports whether a scenario is one for several nodes.
func (sc *scenario) isNodes() bool { return sc.baseline == oneNode }

// isFor reports whether a server is measured.
func (sc *scenario) isFor(s *server) bool {
	switch {
	case sc.isNodes() || s.nodes > 0:
		return sc.isNodes() && (s.nodes > 0 || s.name == oneNode)
	case isBaseline(s.name):
		return s.name == sc.baseline
	case s.warm:
		return sc.load.protocol == jsonText && sc.load.kind != churn
	}
	return true
}

// isChosen reports whether a scenario is one that flags ask for: part is a list of what its name may contain.
func (sc *scenario) isChosen(parts string, core bool) bool {
	return (!core || !sc.full) && slices.ContainsFunc(strings.Split(parts, ","), func(part string) bool { return strings.Contains(sc.name, part) })
}

// blocks returns the scenarios that are chosen, those together that are compared with each other.
func blocks(parts string, core bool) (all [][]*scenario) {
	for i := range scenarios {
		sc := &scenarios[i]
		if !sc.isChosen(parts, core) {
			continue
		}
		if n := len(all); n > 0 && all[n-1][0].name == sc.beside {
			all[n-1] = append(all[n-1], sc)
		} else {
			all = append(all, []*scenario{sc})
		}
	}
	return all
}

// offered is how many messages a second clients would get if the server kept up; 0: no rate is given.
func (l *load) offered() float64 {
	switch {
	case l.kind == broadcast && l.groups > 0:
		return l.rate * float64(l.connections/l.groups)
	case l.kind == broadcast:
		return l.rate * float64(l.connections-l.deaf)
	}
	return l.rate
}
