//go:build linux

package nodes

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where nodes listen. Each has an address of its own, so nobody else has these ports.
const (
	hubPort     = "8000"
	controlPort = "8001"
	nodePort    = "7946"
)

// node is a test server that is a node of a cluster.
type node struct {
	name    string
	address string // without a port
	seeds   []string
	network *namespace // that it lives in; nil: that of the test
	notes   string     // the file for what has been noted
	http    *http.Client

	log   string // the file for what the process logs
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// cluster is a number of nodes.
type cluster struct {
	nodes   []*node
	members []*member
	rounds  int
}

// newCluster starts a cluster. networks are those of the nodes; nil: all are in that of the test.
func newCluster(t *testing.T, n int, networks []*namespace) *cluster {
	t.Helper()
	c := &cluster{}
	// All of 127.0.0.0/8 is this machine.
	prefix := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
	if networks != nil {
		prefix = subnet
	}
	var seeds []string
	for i := range n {
		x := &node{name: string(rune('a' + i)), address: fmt.Sprint(prefix, i+1)}
		if networks != nil {
			x.network = networks[i]
		}
		x.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: x.dial}, Timeout: 10 * time.Second}
		seeds = append(seeds, net.JoinHostPort(x.address, nodePort))
		x.notes = filepath.Join(t.TempDir(), "notes")
		c.nodes = append(c.nodes, x)
	}
	t.Cleanup(func() { c.stop(t) })
	for _, x := range c.nodes {
		x.seeds = seeds
		x.start(t)
	}
	c.awaitUp(t)
	return c
}

// dial opens a connection as if it came from the machine that the node is on.
func (x *node) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	dial := func() { conn, err = (&net.Dialer{}).DialContext(ctx, network, address) }
	if x.network == nil {
		dial()
		return conn, err
	}
	return conn, cmp.Or(x.network.do(dial), err)
}

// start starts the process.
func (x *node) start(t *testing.T) {
	t.Helper()
	binary, err := buildServer()
	require.NoError(t, err)
	at := func(port string) string { return net.JoinHostPort(x.address, port) }
	x.cmd = exec.Command(binary, "-node", x.name, "-addr", at(hubPort), "-ctrl", at(controlPort), "-cluster", at(nodePort), "-join", strings.Join(x.seeds, ","), "-notes", x.notes, "-v")
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	x.log = filepath.Join(t.TempDir(), "log")
	out, err := os.Create(x.log)
	require.NoError(t, err)
	defer out.Close()
	x.cmd.Stdout, x.cmd.Stderr = out, out
	start := func() { err = x.cmd.Start() }
	if x.network == nil {
		start()
	} else {
		require.NoError(t, x.network.do(start))
	}
	require.NoError(t, err)
	cmd, ended := x.cmd, make(chan struct{})
	x.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
}

func (x *node) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, x.cmd.Process.Signal(s))
}

// end waits for the end of a process that has been told to end, and checks its log. It returns how long that took.
func (x *node) end(t *testing.T, status int) time.Duration {
	t.Helper()
	began := time.Now()
	select {
	case <-x.ended:
	case <-time.After(testTime):
		t.Errorf("node %s does not end", x.name)
		_ = x.cmd.Process.Kill()
		<-x.ended
	}
	assert.Equal(t, status, x.cmd.ProcessState.ExitCode(), "the status of node %s", x.name)
	x.cmd = nil
	log := x.readLog(t)
	for _, fault := range []string{"DATA RACE", "panic"} {
		if i := bytes.Index(log, []byte(fault)); i >= 0 {
			t.Errorf("the log of node %s has this:\n%.3000s", x.name, log[max(0, i-200):])
		}
	}
	if t.Failed() {
		lines := slices.DeleteFunc(strings.SplitAfter(string(log), "\n"), func(line string) bool { return strings.Contains(line, `level=DEBUG msg="gossip`) })
		t.Logf("the end of the log of node %s:\n%s", x.name, strings.Join(lines[max(0, len(lines)-60):], ""))
	}
	return time.Since(began)
}

func (x *node) readLog(t *testing.T) []byte {
	t.Helper()
	log, err := os.ReadFile(x.log)
	require.NoError(t, err)
	return log
}

// bySignal is the status of a process that a signal has ended.
const bySignal = -1

// stop ends what runs.
func (c *cluster) stop(t *testing.T) {
	for _, m := range c.members {
		m.stop()
	}
	var running []*node
	for _, x := range c.nodes {
		if x.cmd != nil {
			_ = x.cmd.Process.Signal(syscall.SIGCONT)
			_ = x.cmd.Process.Signal(syscall.SIGTERM)
			running = append(running, x)
		}
	}
	for _, x := range running {
		x.end(t, 0)
	}
}

// status is what a node says of the cluster.
type status struct {
	ID    string
	Up    bool
	Peers []peer
}

// peer is what it says of another node.
type peer struct {
	ID, Name                                                 string
	Up, Member                                               bool
	LostBatches, LostMessages, MissedBatches, MissedMessages uint64
}

func (x *node) status() (s status, err error) {
	answer, err := x.http.Get("http://" + net.JoinHostPort(x.address, controlPort) + "/cluster")
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		return s, err
	}
	if !s.Up {
		return s, errors.New("it has not joined")
	}
	return s, nil
}

// peer returns what a node says of another one, whose last life it is.
func (x *node) peer(of *node) (peer, error) {
	s, err := x.status()
	if err != nil {
		return peer{}, err
	}
	found := peer{}
	for _, p := range s.Peers {
		if p.Name == of.name && (found.ID == "" || p.Up || p.Member && !found.Up) {
			found = p
		}
	}
	return found, nil
}

// sees returns an error unless a node says that another one is up, or down.
func (x *node) sees(of *node, up bool) error {
	p, err := x.peer(of)
	if err == nil && p.Up != up {
		err = fmt.Errorf("node %s says that %s: up=%t", x.name, of.name, p.Up)
	}
	return err
}

// awaitUp waits until all nodes say that all others are up.
func (c *cluster) awaitUp(t *testing.T) time.Duration {
	t.Helper()
	return await(t, "all nodes are up", func() error {
		for _, x := range c.nodes {
			for _, other := range c.nodes {
				if x != other {
					if err := x.sees(other, true); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}

// awaitEach waits until each of some nodes sees another one up, or down, and tells how long that took.
func awaitEach(t *testing.T, nodes []*node, of *node, up bool) string {
	t.Helper()
	var took []string
	done := map[*node]bool{}
	began := time.Now()
	await(t, fmt.Sprintf("node %s is seen: up=%t", of.name, up), func() (missing error) {
		for _, x := range nodes {
			if done[x] {
				continue
			}
			if err := x.sees(of, up); err != nil {
				missing = err
				continue
			}
			done[x] = true
			took = append(took, fmt.Sprintf("%s by %s", milliseconds(time.Since(began)), x.name))
		}
		return missing
	})
	return strings.Join(took, ", ")
}
