//go:build unix

package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

func init() { runProcess = runNode }

// reporter prints what a node is told, with the time.
type reporter struct {
	mu    sync.Mutex
	heard map[backplane.NodeID]bool // since it has joined
	w     *wire
}

func (r *reporter) say(what string, id any) {
	fmt.Println(time.Now().UnixMicro(), what, id)
}

func (r *reporter) joined(m member) { r.say("joined", uint32(m.id)) }

func (r *reporter) left(id backplane.NodeID) {
	r.mu.Lock()
	delete(r.heard, id)
	r.mu.Unlock()
	r.say("left", uint32(id))
}

func (r *reporter) broken(id backplane.NodeID) { r.say("broken", uint32(id)) }

func (r *reporter) frame(f *clusterv1.Frame) {
	from := backplane.NodeID(f.From)
	r.mu.Lock()
	first := !r.heard[from]
	r.heard[from] = true
	r.mu.Unlock()
	if first {
		r.say("heard", f.From)
	}
}

// runNode is a node that sends frames to all members, until its standard input ends. Its variable has its id and its seeds.
func runNode() {
	id, seeds, _ := strings.Cut(os.Getenv(processVariable), " ")
	if id == "0" {
		runProtoactor()
		return
	}
	number, err := strconv.ParseUint(id, 10, 32)
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(err)
	r := &reporter{heard: map[backplane.NodeID]bool{}}
	r.w, err = newWire(Config{Bind: "127.0.0.1:0", Key: testKey, Seeds: strings.Fields(seeds), Logger: slog.New(slog.DiscardHandler)}.withDefaults(), newSystem(), backplane.NodeID(number), echo{}, r)
	check(err)
	check(r.w.join(context.Background()))
	r.say("ready", r.w.members.addresses[0])
	go func() {
		for range time.Tick(50 * time.Millisecond) {
			r.w.mu.RLock()
			var ids []backplane.NodeID
			for id := range r.w.peers {
				ids = append(ids, id)
			}
			r.w.mu.RUnlock()
			for _, to := range ids {
				r.w.send(to, &clusterv1.Frame{From: uint32(r.w.id), To: uint32(to)})
			}
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	check(r.w.stop(context.Background()))
}

// process is a node in another process.
type process struct {
	id      int
	cmd     *exec.Cmd
	address string
	stdin   io.Closer

	mu      sync.Mutex
	changed chan struct{}
	lines   []line
}

type line struct {
	at   time.Time
	text string
}

func startProcess(t *testing.T, id int, seeds ...string) *process {
	t.Helper()
	p := &process{id: id, cmd: exec.Command(os.Args[0]), changed: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", processVariable, id, strings.Join(seeds, " ")))
	p.cmd.Stderr = testLog(t)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			number, text, _ := strings.Cut(s.Text(), " ")
			at, _ := strconv.ParseInt(number, 10, 64)
			p.mu.Lock()
			p.lines = append(p.lines, line{time.UnixMicro(at), text})
			close(p.changed)
			p.changed = make(chan struct{})
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-read
		_ = p.cmd.Wait()
	})
	_, p.address, _ = strings.Cut(p.says(t, "ready", time.Time{}).text, " ")
	return p
}

// says waits for something that a process has said after a time.
func (p *process) says(t *testing.T, what string, after time.Time) line {
	t.Helper()
	late := time.After(testTime)
	for {
		p.mu.Lock()
		changed := p.changed
		for _, line := range p.lines {
			if strings.HasPrefix(line.text, what) && !line.at.Before(after) {
				p.mu.Unlock()
				return line
			}
		}
		lines := p.lines
		p.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			require.Fail(t, "a process has not said this: "+what, "%v", lines)
		}
	}
}

func TestProcessesAreMissedAndComeBack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	a := startProcess(t, 1)
	b := startProcess(t, 2, a.address)
	c := startProcess(t, 3, a.address)
	all := []*process{a, b, c}
	for _, p := range all {
		for _, other := range all {
			if p != other {
				p.says(t, fmt.Sprintf("heard %d", other.id), time.Time{})
			}
		}
	}
	stopped := time.Now()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGSTOP))
	for _, p := range all[:2] {
		t.Logf("SIGSTOP: node %d sees that it has gone after %s", p.id, p.says(t, "left 3", stopped).at.Sub(stopped))
	}
	<-time.After(time.Until(stopped.Add(5 * time.Second))) // what is tested is a stop of 5 s
	resumed := time.Now()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
	for _, p := range all[:2] {
		t.Logf("SIGCONT: node %d has it back after %s, and hears it after %s", p.id, p.says(t, "joined 3", resumed).at.Sub(resumed), p.says(t, "heard 3", resumed).at.Sub(resumed))
	}

	killed := time.Now()
	require.NoError(t, c.cmd.Process.Kill())
	for _, p := range all[:2] {
		t.Logf("SIGKILL: node %d: broken after %s, gone after %s", p.id, p.says(t, "broken 3", killed).at.Sub(killed), p.says(t, "left 3", killed).at.Sub(killed))
	}
	again := time.Now()
	d := startProcess(t, 4, a.address)
	b.says(t, "heard 4", again)

	leaving := time.Now()
	require.NoError(t, d.stdin.Close())
	t.Logf("it leaves: node 1 sees that after %s, node 2 after %s", a.says(t, "left 4", leaving).at.Sub(leaving), b.says(t, "left 4", leaving).at.Sub(leaving))
}

// runProtoactor is a process with the remote that protoactor has.
func runProtoactor() {
	system := newSystem()
	remote.NewRemote(system, remote.Configure("127.0.0.1", 0)).Start()
	_, err := system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
		m, ok := c.Message().(*wrapperspb.StringValue)
		if !ok {
			return
		}
		if m.Value == "stop" {
			c.Stop(c.Self())
			return
		}
		answer, err := system.Root.RequestFuture(actor.NewPID(m.Value, "near"), wrapperspb.String("there"), testTime).Result()
		c.Respond(wrapperspb.String(fmt.Sprint(answer.(*wrapperspb.StringValue).GetValue(), " and back ", err)))
	}), "far")
	if err != nil {
		panic(err)
	}
	fmt.Println(0, "ready", system.Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestProtoactorsOwnRemoteIsUnderstood(t *testing.T) {
	t.Parallel()
	other := startProcess(t, 0)
	a := start(t, nil, func(c *Config) { c.Key, c.Insecure = nil, true })
	_, err := a.system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
		if m, ok := c.Message().(*wrapperspb.StringValue); ok {
			c.Respond(wrapperspb.String("from " + m.Value))
		}
	}), "near")
	require.NoError(t, err)
	far := actor.NewPID(other.address, "far")
	for range 100 {
		answer, err := a.system.Root.RequestFuture(far, wrapperspb.String(a.system.Address()), testTime).Result()
		require.NoError(t, err)
		require.Equal(t, "from there and back <nil>", answer.(*wrapperspb.StringValue).GetValue())
	}
	ended := make(chan *actor.Terminated, 1)
	a.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Watch(actor.NewPID(other.address, "far"))
			c.Send(far, wrapperspb.String("stop"))
		case *actor.Terminated:
			ended <- m
		}
	}))
	require.Equal(t, "far", (<-ended).Who.Id)
}
