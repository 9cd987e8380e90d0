// hubbench measures what a SignalR server costs: server CPU per delivery and per call, the rate reached, latency, memory per idle
// connection, allocations. It measures baselines in the same run, because figures of different runs cannot be compared: a loop that writes one
// message to every socket, and a goroutine per socket that answers without a hub. Scenarios for several nodes ("nodes: ...") have one node as their
// baseline; their CPU is that of all nodes, of which a part is the sender's. Linux only.
//
//	hubbench                                  # Troupe's test server and the baselines
//	hubbench -core -reference path/to/run.sh  # the scenarios that matter most, and the original
//	hubbench -only echo,idle                  # the scenarios whose names contain one of these
//	hubbench -only nodes: -nodes 10           # Troupe's test server as one node, and as ten
//	hubbench -out docs/performance            # write results.md, results.svg and results.json there
//	hubbench -from docs/performance/results.json -out docs/performance       # write the former two again
//	hubbench -peer name=127.0.0.1:9000,127.0.0.1:9001,4711   # and any server: its address, its control port, its process id
//
// A peer has a hub at /bench with the methods of conformance/testserver's BenchHub. Its control port answers GET /start?rate=R&dur=MS by sending R
// messages a second to everyone, and GET /gc by collecting garbage. Scenarios that need more orders (benchorders.go) are left out for peers without
// them.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	rounds    = flag.Int("rounds", 3, "rounds; the figures are medians")
	window    = flag.Duration("window", 2*time.Second, "what is measured of each run")
	only      = flag.String("only", "", "run the scenarios whose names contain one of these parts, separated by commas, so without commas")
	core      = flag.Bool("core", false, "leave out what is only for full runs")
	reference = flag.String("reference", "", "the script that starts the original server")
	nodeCount = flag.Int("nodes", 3, "nodes of the scenarios for several ones")
	churnFor  = flag.Duration("churn", 10*time.Minute, "how long clients come and go in the scenario for that, which has one round")
	profile   = flag.String("profile", "", "the directory for CPU profiles of Troupe's test server, one of each window and process")
	out       = flag.String("out", "", "the directory for results.md, results.svg and results.json")
	from      = flag.String("from", "", "measure nothing: take the results of this file")
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
	if at, err := net.ResolveTCPAddr("tcp4", s.addr); err != nil || at.IP == nil {
		return fmt.Errorf("%q is no address with a host and a port", s.addr)
	}
	var err error
	if s.pid, err = strconv.Atoi(parts[2]); err != nil || memory(s.pid) == 0 {
		return fmt.Errorf("there is no process %s", parts[2])
	}
	*p = append(*p, s)
	return nil
}

// checkFlags says what cannot be measured before an hour has gone.
func checkFlags() error {
	names := []string{rawLoop, bareEcho, oneNode, nodesName(), original}
	for _, p := range peers {
		if slices.Contains(names, p.name) {
			return fmt.Errorf("two servers are called %q", p.name)
		}
		names = append(names, p.name)
	}
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("%q is no flag", flag.Arg(0))
	case *rounds < 1:
		return errors.New("-rounds: at least one")
	case *window <= 0:
		return errors.New("-window: it is too short")
	case *nodeCount < 2:
		return errors.New("-nodes: at least two")
	case *churnFor < time.Second:
		return errors.New("-churn: at least a second")
	}
	for _, dir := range []string{*out, *profile} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	flag.Var(&peers, "peer", "a server that runs already: name=address,control,pid (can be repeated)")
	flag.Parse()
	err := error(nil)
	if *serve != "" {
		err = serveBaseline(*serve, *addr)
	} else {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hubbench:", err)
		os.Exit(1)
	}
}

func run() error {
	r := &results{}
	failed := error(nil)
	if *from != "" {
		b, err := os.ReadFile(*from)
		if err == nil {
			err = json.Unmarshal(b, r)
		}
		if err != nil {
			return err
		}
	} else {
		if err := checkFlags(); err != nil {
			return err
		}
		*r = results{Machine: machine(), Date: time.Now().UTC().Format(time.DateOnly), Commit: commit(), Rounds: *rounds, Window: *window}
		if failed = r.measure(); len(r.Scenarios) == 0 {
			return failed
		}
	}
	fmt.Print("\n" + r.ratios())
	if *out == "" {
		return failed
	}
	return errors.Join(failed, r.write(*out))
}

// write writes what is kept of a run.
func (r *results) write(dir string) error {
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	file := func(name, text string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644) }
	return errors.Join(os.MkdirAll(dir, 0o755), file("results.json", string(raw)+"\n"), file("results.md", r.report()), file("results.svg", r.plot()))
}

// measure runs all scenarios that are chosen. It returns which servers have failed in them.
func (r *results) measure() error {
	chosen := blocks(*only, *core)
	if len(chosen) == 0 {
		return errors.New("no scenario has such a name")
	}
	servers, cleanup, err := findServers()
	if err != nil {
		return err
	}
	defer cleanup()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		cleanup()
		os.Exit(1)
	}()
	begin := time.Now()
	var failed error
	for _, block := range chosen {
		all, err := measureBlock(block, servers)
		failed = errors.Join(failed, err)
		for _, m := range all {
			fmt.Printf("\n%s(%v)\n", m.figures(), time.Since(begin).Round(time.Second))
		}
		r.Scenarios = append(r.Scenarios, all...)
	}
	return failed
}

// measureBlock measures scenarios round by round, and in each round one server after the other, so that what disturbs a machine for a time is shared by
// all. A server that has to warm up is started once. One that fails is left out from there on, and others are measured.
func measureBlock(block []*scenario, servers []server) (all []*measured, failed error) {
	kept := map[string]*server{}
	defer func() {
		for _, s := range kept {
			s.stop()
		}
	}()
	all = make([]*measured, len(block))
	for i, sc := range block {
		all[i] = &measured{Name: sc.name}
	}
	left := map[string]bool{}
	for round := range *rounds {
		for i, sc := range block {
			if sc.load.kind == churn && round > 0 {
				continue
			}
			for _, s := range servers {
				if !sc.isFor(&s) || left[sc.name+s.name] {
					continue
				}
				f, err := measureOne(sc, s, kept)
				if err == nil {
					all[i].add(s.name, f)
					continue
				}
				left[sc.name+s.name] = true
				var lacks *lacking
				if !errors.As(err, &lacks) {
					failed = errors.Join(failed, fmt.Errorf("%s, %s: %w", sc.name, s.name, err))
					err = fmt.Errorf("it has failed in round %d: %w", round+1, err)
					if k := kept[s.name]; k != nil {
						k.stop()
						delete(kept, s.name)
					}
				}
				all[i].LeftOut = append(all[i].LeftOut, fmt.Sprintf("%s (%v)", s.name, err))
			}
		}
	}
	return all, failed
}

// lacking says why a scenario leaves a server out.
type lacking struct{ why string }

func (l *lacking) Error() string { return l.why }

// measureOne runs a scenario on a server, which is started if it does not run.
func measureOne(sc *scenario, s server, kept map[string]*server) (figures, error) {
	if s.command == nil {
		s.settle()
		return measure(&s, sc.load, shortWarmUp)
	}
	keep := s.warm && sc.load.kind != idle // memory is measured of new processes
	if k := kept[s.name]; keep && k != nil {
		return measure(k, sc.load, keptWarmUp)
	}
	if err := s.start(); err != nil {
		return figures{}, err
	}
	if !keep {
		defer s.stop()
		return measure(&s, sc.load, shortWarmUp)
	}
	kept[s.name] = &s
	return measure(&s, sc.load, longWarmUp)
}

const (
	shortWarmUp = 500 * time.Millisecond
	longWarmUp  = 6 * time.Second // for a server that compiles itself while it runs
	keptWarmUp  = 3 * time.Second // for the same, later: it has not done this with these connections
)
