package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/cluster"
)

var (
	node      = flag.String("node", "", "what this node is called; the page shows it")
	clusterAt = flag.String("cluster", "", "be a node of a cluster: the IP address for other nodes, and the first of three ports if that is not 7946. Its key is in "+keyVariable)
	seeds     = flag.String("seeds", "", "IP addresses or names of other nodes, separated by commas")
	nodeCount = flag.Int("nodes", 0, "start so many nodes on this machine, at the ports behind -addr and -cluster, and a proxy at -addr that gives each request for a hub to the next one")
	withInput = flag.Bool("with-input", false, "end when the standard input does")
)

// keyVariable is where the key of the cluster is in the environment.
const keyVariable = "DEMO_KEY"

// newBackplane returns what joins this node with others, or nil if there are none.
func newBackplane() (*cluster.Backplane, error) {
	if *clusterAt == "" {
		return nil, nil
	}
	config := cluster.Config{Name: *node, Bind: *clusterAt, Key: []byte(os.Getenv(keyVariable))}
	if *seeds != "" {
		config.Seeds = strings.Split(*seeds, ",")
	}
	return cluster.New(config)
}

// process is a node in a process of its own.
type process struct {
	url   string
	proxy *httputil.ReverseProxy
	ended atomic.Bool
}

// runNodes starts nodes, and serves the page and a proxy before their hubs, until ctx ends.
func runNodes(ctx context.Context, count int) error {
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	pages := listener.Addr().(*net.TCPAddr).AddrPort()
	gossip, err := netip.ParseAddrPort(cmp.Or(*clusterAt, "127.0.0.1:7946"))
	if err != nil {
		return fmt.Errorf("-cluster: %w", err)
	}
	for _, last := range []int{int(pages.Port()) + count, int(gossip.Port()) + 3*count - 1} {
		if last > math.MaxUint16 {
			return fmt.Errorf("-nodes %d needs ports up to %d", count, last)
		}
	}
	key := rand.Text() + rand.Text()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var all []*process
	for i := range count {
		name := fmt.Sprint("node ", i+1)
		p, cmd, err := startNode(ctx, behind(pages, i+1), key, "-node", name, "-cluster", behind(gossip, 3*i), "-seeds", gossip.String())
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s, process %d\n", name, p.url, cmd.Process.Pid)
		all = append(all, p)
		running.Go(func() {
			_ = cmd.Wait()
			p.ended.Store(true)
			fmt.Println(name, "has ended")
		})
	}
	if err := wait(ctx, all); err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: newMux(inTurn(all))}
	go func() {
		<-ctx.Done()
		running.Wait()
		_ = server.Close()
	}()
	invite(listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// inTurn gives each request to the next node that has not ended.
func inTurn(all []*process) http.HandlerFunc {
	var last atomic.Uint64
	return func(w http.ResponseWriter, r *http.Request) {
		turn := last.Add(1)
		for i := range all {
			if p := all[(turn+uint64(i))%uint64(len(all))]; !p.ended.Load() {
				p.proxy.ServeHTTP(w, r)
				return
			}
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// behind returns the address whose port is so many ports higher.
func behind(a netip.AddrPort, ports int) string {
	return netip.AddrPortFrom(a.Addr(), a.Port()+uint16(ports)).String()
}

// startNode starts a node in a process of its own, which ends with ctx, and with this process.
func startNode(ctx context.Context, addr, key string, args ...string) (*process, *exec.Cmd, error) {
	at := &url.URL{Scheme: "http", Host: addr}
	p := &process{url: at.String(), proxy: httputil.NewSingleHostReverseProxy(at)}
	p.proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	program, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, program, append(args, "-addr", addr, "-client", *client, "-modules", *modules, "-with-input")...)
	cmd.Env = append(os.Environ(), keyVariable+"="+key)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Cancel, cmd.WaitDelay = input.Close, 10*time.Second
	return p, cmd, cmd.Start()
}

// wait waits until the nodes know each other: those that start together may be ready before, and the first clients would be refused.
func wait(ctx context.Context, all []*process) error {
	ended := func(p *process) bool { return p.ended.Load() }
	alone := func(p *process) bool {
		up, err := p.membersUp(ctx)
		return err != nil || up < len(all)-1
	}
	for ; ctx.Err() == nil && !slices.ContainsFunc(all, ended); time.Sleep(20 * time.Millisecond) {
		if !slices.ContainsFunc(all, alone) {
			return nil
		}
	}
	return errors.New("a node has ended before it was ready")
}

// membersUp returns how many other nodes a node can reach.
func (p *process) membersUp(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // something else may have its port
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/cluster", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	var status struct{ MembersUp int }
	err = json.NewDecoder(answer.Body).Decode(&status)
	return status.MembersUp, err
}
