// hubbench measures what a SignalR server costs: server CPU per delivery and per call, the rate reached, latency, memory per idle
// connection. It measures baselines in the same run, because figures of different runs cannot be compared: a loop that writes one
// message to every socket, and a goroutine per socket that answers without a hub. Scenarios for several nodes ("nodes: ...") have one node as their
// baseline; their CPU is that of all nodes, of which a part is the sender's. Linux only.
//
//	hubbench                                  # Troupe's test server and the baselines
//	hubbench -reference path/to/run.sh        # and the original
//	hubbench -only nodes: -nodes 10           # Troupe's test server as one node, and as ten
//	hubbench -peer name=127.0.0.1:9000,127.0.0.1:9001,4711   # and any server: its address, its control port, its process id
//
// A control port answers GET /start?rate=R&dur=MS by sending R messages a second to everyone, and GET /gc by collecting garbage.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	rounds    = flag.Int("rounds", 3, "rounds; the figures are medians")
	window    = flag.Duration("window", 3*time.Second, "what is measured of each run")
	only      = flag.String("only", "", "run the scenarios whose names contain this")
	reference = flag.String("reference", "", "the script that starts the original server")
	nodeCount = flag.Int("nodes", 3, "nodes of the scenarios for several ones")
	profile   = flag.String("profile", "", "the directory for CPU profiles of Troupe's test server, one of each window and process")
	peers     peerFlags
	serve     = flag.String("serve", "", "be a baseline server (internal)")
	addr      = flag.String("addr", "", "of the baseline server (internal)")
)

// peerFlags are servers that run already.
type peerFlags []server

func (p *peerFlags) String() string { return "" }

func (p *peerFlags) Set(text string) error {
	name, rest, _ := strings.Cut(text, "=")
	parts := strings.Split(rest, ",")
	if len(parts) != 3 {
		return errors.New("a peer is name=address,control,pid")
	}
	s := server{name: name, addr: parts[0], control: parts[1]}
	_, err := fmt.Sscan(parts[2], &s.pid)
	*p = append(*p, s)
	return err
}

// server is what is measured.
type server struct {
	name    string
	command []string // nil: it runs already
	addr    string
	control string
	pid     int
	nodes   int      // 0: it is no cluster
	others  []server // the nodes but the first one, when they run
	warm    bool     // it compiles itself while it runs, and has neither MessagePack nor the protocol of SignalR 2: the original
}

// scenario is one way to use a server.
type scenario struct {
	name     string
	baseline string // the baseline that it is compared with
	load     load
}

// load is what clients do.
type load struct {
	kind        kind
	connections int           // 0: one for each node but one
	rate        float64       // broadcasts a second
	depth       int           // calls of a connection that are under way
	perMessage  int           // calls in one WebSocket message
	packed      bool          // in MessagePack
	classic     bool          // in the protocol of SignalR 2
	bytes       int           // of the text of a message
	elsewhere   bool          // connections are at the nodes that do not send
	lazy        time.Duration // between two looks at the sockets: makes the clients cheap, and latency coarse
}

type kind int

const (
	broadcast kind = iota
	echo
	idle
	flood    // broadcasts, as many as there can be
	each     // messages for one connection after the other, as many as there can be
	across   // calls that send a message to a connection, at another node if there are some
	connects // connections that are negotiated, opened and closed, at different nodes if there are some
)

// oneNode is the baseline of what several nodes do.
const oneNode = "Troupe"

var scenarios = []scenario{
	{"broadcast 1,000 × 50/s", "raw loop", load{kind: broadcast, connections: 1000, rate: 50, lazy: time.Millisecond}},
	{"broadcast 1,000 × 2,000/s", "raw loop", load{kind: broadcast, connections: 1000, rate: 2000, lazy: time.Millisecond}},
	{"broadcast 1,000 × 50/s, MessagePack", "raw loop", load{kind: broadcast, connections: 1000, rate: 50, lazy: time.Millisecond, packed: true}},
	{"broadcast 1,000 × 2,000/s, MessagePack", "raw loop", load{kind: broadcast, connections: 1000, rate: 2000, lazy: time.Millisecond, packed: true}},
	{"broadcast 1,000 × 50/s, SignalR 2", "raw loop", load{kind: broadcast, connections: 1000, rate: 50, lazy: time.Millisecond, classic: true}},
	{"broadcast 1,000 × 2,000/s, SignalR 2", "raw loop", load{kind: broadcast, connections: 1000, rate: 2000, lazy: time.Millisecond, classic: true}},
	{"echo, depth 1, 200", "bare echo", load{kind: echo, connections: 200, depth: 1, perMessage: 1}},
	{"echo, 8 per message, 200", "bare echo", load{kind: echo, connections: 200, depth: 8, perMessage: 8}},
	{"echo, depth 1, 200, SignalR 2", "bare echo", load{kind: echo, connections: 200, depth: 1, perMessage: 1, classic: true}},
	{"idle, 10,000", "bare echo", load{kind: idle, connections: 10000}},
	{"idle, 10,000, SignalR 2", "bare echo", load{kind: idle, connections: 10000, classic: true}},
	{"nodes: to a connection of each other, 100 B", oneNode, load{kind: flood, bytes: 100, elsewhere: true, lazy: time.Millisecond}},
	{"nodes: to a connection of each other, 1 KB", oneNode, load{kind: flood, bytes: 1000, elsewhere: true, lazy: time.Millisecond}},
	{"nodes: broadcast 1,000 × 50/s", oneNode, load{kind: broadcast, connections: 1000, rate: 50, lazy: time.Millisecond}},
	{"nodes: broadcast 1,000 × 2,000/s", oneNode, load{kind: broadcast, connections: 1000, rate: 2000, lazy: time.Millisecond}},
	{"nodes: to 1,000 connections of others one by one, 100 B", oneNode, load{kind: each, connections: 1000, bytes: 100, elsewhere: true, lazy: time.Millisecond}},
	{"nodes: to a connection of each other, 200/s", oneNode, load{kind: broadcast, rate: 200, elsewhere: true}},
	{"nodes: call answered by a send of another, 1", oneNode, load{kind: across, connections: 1, depth: 1, perMessage: 1, elsewhere: true}},
	{"nodes: call answered by a send of another, 200", oneNode, load{kind: across, connections: 200, depth: 1, perMessage: 1, elsewhere: true}},
	{"nodes: connects, negotiated at another", oneNode, load{kind: connects}},
	{"nodes: idle, 10,000", oneNode, load{kind: idle, connections: 10000}},
}

func main() {
	flag.Var(&peers, "peer", "a server that runs already: name=address,control,pid (can be repeated)")
	flag.Parse()
	err := error(nil)
	if *serve != "" {
		err = serveBaseline(*serve, *addr)
	} else {
		err = measureAll()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hubbench:", err)
		os.Exit(1)
	}
}

func measureAll() error {
	servers, cleanup, err := findServers()
	if err != nil {
		return err
	}
	defer cleanup()
	for _, sc := range scenarios {
		if !strings.Contains(sc.name, *only) {
			continue
		}
		results := map[string][]figures{}
		var order []string
		for round := range *rounds {
			for _, s := range servers {
				if !sc.isFor(s) {
					continue
				}
				f, err := measure(s, sc.load)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", sc.name, s.name, err)
				}
				if round == 0 {
					order = append(order, s.name)
				}
				results[s.name] = append(results[s.name], f)
			}
		}
		report(sc, order, results)
	}
	return nil
}

// isFor reports whether a server is measured.
func (sc scenario) isFor(s server) bool {
	if sc.baseline == oneNode || s.nodes > 0 {
		return sc.baseline == oneNode && (s.nodes > 0 || s.name == oneNode)
	}
	return (!isBaseline(s.name) || s.name == sc.baseline) && (!s.warm || !sc.load.packed && !sc.load.classic)
}

func isBaseline(name string) bool { return name == "raw loop" || name == "bare echo" }

// findServers builds Troupe's test server; the baselines are this program.
func findServers() ([]server, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "hubbench-")
	if err != nil {
		return nil, nil, err
	}
	cleanup := func() { _ = os.RemoveAll(dir) }
	binary := filepath.Join(dir, "testserver")
	build := exec.Command("go", "build", "-o", binary, "github.com/troupe-go/troupe/conformance/testserver")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		cleanup()
		return nil, nil, fmt.Errorf("the test server does not build: %w", err)
	}
	servers := []server{
		{name: "raw loop", command: []string{self, "-serve", "loop"}},
		{name: "bare echo", command: []string{self, "-serve", "echo"}},
		{name: oneNode, command: []string{binary}},
		{name: fmt.Sprintf("%d nodes", *nodeCount), command: []string{binary}, nodes: *nodeCount},
	}
	if *reference != "" {
		if _, err := os.Stat(*reference); err == nil {
			servers = append(servers, server{name: "ASP.NET Core", command: []string{*reference}, warm: true})
		} else {
			fmt.Printf("left out: the original server (%v)\n", err)
		}
	}
	return append(servers, peers...), cleanup, nil
}

// figures are the outcome of one run.
type figures struct {
	rate       float64 // deliveries or calls a second
	cpu        float64 // µs of the server per delivery or call
	user, sys  float64 // parts of it
	first      float64 // a part of it: of the node that sends
	p50, p99   float64 // ms
	memory     float64 // bytes of RSS per connection
	goroutines float64 // per connection; 0: unknown
	idle       float64 // ms of CPU a second, of connections that do nothing
}

func report(sc scenario, order []string, results map[string][]figures) {
	median := func(name string, of func(figures) float64) float64 {
		var values []float64
		for _, f := range results[name] {
			values = append(values, of(f))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	cost := func(f figures) float64 { return cmp.Or(f.cpu, f.memory) }
	fmt.Printf("\n%s (medians of %d)\n", sc.name, *rounds)
	if sc.load.kind == idle {
		fmt.Printf("  %-14s %12s %12s %12s\n", "", "B of RSS", "goroutines", "CPU ms/s")
	} else {
		fmt.Printf("  %-14s %10s %8s %8s %8s %10s %8s %8s %9s\n", "", "µs of CPU", "sender", "user", "sys", "per s", "p50 ms", "p99 ms", "×baseline")
	}
	for _, name := range order {
		m := func(of func(figures) float64) float64 { return median(name, of) }
		if sc.load.kind == idle {
			fmt.Printf("  %-14s %12.0f %12.2f %12.1f\n", name, m(cost), m(func(f figures) float64 { return f.goroutines }), m(func(f figures) float64 { return f.idle }))
			continue
		}
		fmt.Printf("  %-14s %10.2f %8.2f %8.2f %8.2f %10.0f %8.2f %8.2f %9.2f\n", name, m(cost), m(func(f figures) float64 { return f.first }),
			m(func(f figures) float64 { return f.user }), m(func(f figures) float64 { return f.sys }), m(func(f figures) float64 { return f.rate }),
			m(func(f figures) float64 { return f.p50 }), m(func(f figures) float64 { return f.p99 }), m(cost)/median(sc.baseline, cost))
	}
}
