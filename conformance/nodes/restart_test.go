//go:build linux

package nodes

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	notePath  = "/later-one"
	burst     = 4                     // calls that a client makes at once
	slowCall  = 100                   // milliseconds that another one takes behind the first of them
	burstRate = 200                   // bursts of all clients in a second
	retryTime = 50 * time.Millisecond // between two attempts of a client to connect
)

// connecting limits how many clients connect at the same time: on a busy machine, none of too many would succeed before its time is over.
var connecting = make(chan struct{}, 64)

// caller is a client that makes calls, each with another number, whatever node it is connected to.
type caller struct {
	key      string
	made     int   // calls so far
	answered []int // the numbers of those that have been answered
	sessions int
	attempts int
	closes   []time.Time // when it was told to come back
	faults   []error
}

// run makes calls until it is stopped.
func (k *caller) run(nodes []*node, pause time.Duration, stopped <-chan struct{}, ready func()) {
	for {
		select {
		case <-stopped:
			return
		default:
		}
		k.attempts++
		// A balancer that knows no sessions.
		x, negotiated := nodes[rand.IntN(len(nodes))], nodes[rand.IntN(len(nodes))]
		connecting <- struct{}{}
		c, err := connect(x, negotiated, notePath, func(string) {})
		<-connecting
		if err != nil {
			time.Sleep(retryTime)
			continue
		}
		k.sessions++
		ready()
		k.use(c, pause, stopped)
		select {
		case <-stopped:
		case <-c.ended:
			c.mu.Lock()
			if !c.goodbye.AllowReconnect {
				k.faults = append(k.faults, fmt.Errorf("a connection to node %s has ended, and the client was not told to come back: %w: %+v", x.name, c.err, c.goodbye))
			} else {
				k.closes = append(k.closes, c.closed)
			}
			c.mu.Unlock()
		}
		c.close()
	}
}

// use makes calls over a connection, several at once, until it ends.
func (k *caller) use(c *client, pause time.Duration, stopped <-chan struct{}) {
	timer := time.NewTimer(rand.N(pause))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.ended:
			return
		case <-stopped:
			return
		}
		timer.Reset(pause)
		answers := map[int]<-chan message{}
		var numbers []int
		for range burst {
			k.made++
			answer, err := c.begin("Note", k.key, strconv.Itoa(k.made))
			if err != nil {
				break
			}
			numbers = append(numbers, k.made)
			answers[k.made] = answer
			if len(numbers) == 1 { // so that connections end in the middle of calls
				_, _ = c.begin("Slow", slowCall)
			}
		}
		for _, n := range numbers {
			switch err := c.finish(answers[n], nil); err {
			case nil:
				k.answered = append(k.answered, n)
			case errEnded:
			default:
				k.faults = append(k.faults, fmt.Errorf("call %d: %w", n, err))
			}
		}
	}
}

// executed is how often each call was executed.
type executed map[string]int

// drain has a node end in its own time, and adds what it has executed.
func (e executed) drain(t *testing.T, x *node) {
	t.Helper()
	x.signal(t, syscall.SIGTERM)
	t.Logf("node %s has ended after %s", x.name, milliseconds(x.end(t, 0)))
	text, err := os.ReadFile(x.notes)
	require.NoError(t, err)
	var notes map[string][]string
	require.NoError(t, json.Unmarshal(text, &notes))
	ends := " " + strings.Join(notes[""], " ") // OnConnected and OnDisconnected note here
	assert.Equal(t, strings.Count(ends, " connected"), strings.Count(ends, " disconnected"), "OnDisconnected is called for each connection")
	for key, numbers := range notes {
		for _, number := range numbers {
			e[key+" "+number]++
		}
	}
}

// judge checks that each call was executed once if it was answered, and not at all otherwise.
func (e executed) judge(t *testing.T, k *caller) {
	t.Helper()
	for _, err := range k.faults {
		t.Errorf("%s: %v", k.key, err)
	}
	answered := map[int]int{}
	for _, number := range k.answered {
		answered[number]++
	}
	for number := range k.made {
		call := fmt.Sprint(k.key, " ", number+1)
		assert.Equal(t, answered[number+1], e[call], "%s was executed so often; it was answered %d times", call, answered[number+1])
		assert.LessOrEqual(t, e[call], 1, "%s was executed so often", call)
	}
}

// Nodes that are restarted one after the other lose no call that is answered, and make none twice.
func TestNodesAreRestartedOneByOne(t *testing.T) {
	t.Parallel()
	skipIfShort(t)
	n := clients(t)
	c := newCluster(t, 3, nil)
	stopped := make(chan struct{})
	var running sync.WaitGroup
	stop := sync.OnceFunc(func() {
		close(stopped)
		running.Wait()
	})
	defer stop()
	callers := make([]*caller, n)
	var ready atomic.Int64
	pause := time.Duration(n) * time.Second / burstRate
	for i := range callers {
		k := &caller{key: fmt.Sprint("caller ", i)}
		callers[i] = k
		running.Go(func() { k.run(c.nodes, pause, stopped, func() { ready.Add(1) }) })
	}
	took := await(t, "the clients are connected", func() error {
		if have := ready.Load(); have < int64(n) {
			return fmt.Errorf("%d of %d are", have, n)
		}
		return nil
	})
	t.Logf("%d clients are connected in %s", n, milliseconds(took))

	e := executed{}
	var restarts []time.Time
	for _, x := range c.nodes {
		restarts = append(restarts, time.Now())
		e.drain(t, x)
		began := time.Now()
		x.start(t)
		c.awaitUp(t)
		t.Logf("another process at its address is up after %s", milliseconds(time.Since(began)))
	}
	stop()
	for _, x := range c.nodes {
		e.drain(t, x)
	}
	closes := make([][]time.Duration, len(restarts))
	made, answered, sessions, attempts := 0, 0, 0, 0
	for _, k := range callers {
		e.judge(t, k)
		made, answered, sessions, attempts = made+k.made, answered+len(k.answered), sessions+k.sessions, attempts+k.attempts
		for _, at := range k.closes {
			i, _ := slices.BinarySearchFunc(restarts, at, time.Time.Compare)
			closes[i-1] = append(closes[i-1], at.Sub(restarts[i-1]))
		}
	}
	t.Logf("%d calls, %d answered, the others not executed; %d connections, %d attempts", made, answered, sessions, attempts)
	for i, all := range closes {
		t.Logf("node %s: %d clients were told to come back, by tenths of a second: %s", c.nodes[i].name, len(all), histogram(all))
	}
	assert.Greater(t, sessions, n)
}

// histogram counts times by tenths of a second.
func histogram(all []time.Duration) string {
	counts := []int{}
	for _, d := range all {
		i := int(d / (100 * time.Millisecond))
		for len(counts) <= i {
			counts = append(counts, 0)
		}
		counts[i]++
	}
	return strings.Trim(fmt.Sprint(counts), "[]")
}
