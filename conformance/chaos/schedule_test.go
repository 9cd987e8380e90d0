package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// action is what a step of the schedule does.
type action uint8

const (
	// Calls of hub methods.
	doCall action = iota
	doSend
	doBurst
	doSlowCall
	doUnknownMethod
	doBadArguments
	doPanic
	doGoexit
	doStream
	doCanceledStream
	doAsk
	doJoin
	doLeaveGroup
	doListGroups
	doSync
	doTell

	// Faults of the network.
	doCut
	doCutLater
	doCutNext
	doStall
	doThrottle
	doDelay
	doHalfClose

	// Faults of the client.
	doBadJSON
	doBadText
	doBadFrame
	doHugeMessage
	doUnknownMessage
	doJunk
	doStopReading
	doFlood

	// Ends of sessions.
	doKick
	doKickUser
	doReconnect
	doClose
	doCloseFrame
	doVanish
	doRefused

	actions = iota
)

var actionNames = [actions]string{
	doCall: "calls", doSend: "calls without an answer", doBurst: "bursts of calls", doSlowCall: "slow calls", doUnknownMethod: "unknown methods",
	doBadArguments: "arguments that do not fit", doPanic: "panics", doGoexit: "runtime.Goexit", doStream: "streams", doCanceledStream: "canceled streams",
	doAsk: "client results", doJoin: "group joins", doLeaveGroup: "group leaves", doListGroups: "lists of groups", doSync: "counts of messages",
	doTell: "messages to a group", doCut: "cuts", doCutLater: "cuts within a message", doCutNext: "cuts of the connection and of the next one while it opens",
	doStall: "stalls", doThrottle: "throttles", doDelay: "delays",
	doHalfClose: "half-closes", doBadJSON: "bad JSON", doBadText: "text that is not UTF-8", doBadFrame: "bad frames", doHugeMessage: "huge messages",
	doUnknownMessage: "messages of an unknown type", doJunk: "junk requests", doStopReading: "pauses of reading", doFlood: "pauses of reading in a flood",
	doKick: "Disconnect of a client", doKickUser: "Disconnect of a user", doReconnect: "Reconnect", doClose: "Close messages", doCloseFrame: "close frames",
	doVanish: "clients that vanish", doRefused: "refused connections",
}

// weights are how often each action is drawn, relative to the others.
var weights = [actions]int{
	doCall: 220, doSend: 80, doBurst: 40, doSlowCall: 30, doUnknownMethod: 20, doBadArguments: 20, doPanic: 30, doGoexit: 20, doStream: 50,
	doCanceledStream: 15, doAsk: 40, doJoin: 100, doLeaveGroup: 45, doListGroups: 30, doSync: 50, doTell: 50,
	doCut: 40, doCutLater: 30, doCutNext: 15, doStall: 20, doThrottle: 10, doDelay: 15, doHalfClose: 20,
	doBadJSON: 8, doBadText: 4, doBadFrame: 4, doHugeMessage: 4, doUnknownMessage: 8, doJunk: 5, doStopReading: 10, doFlood: 3,
	doKick: 8, doKickUser: 3, doReconnect: 8, doClose: 15, doCloseFrame: 8, doVanish: 8, doRefused: 4,
}

// step is one step of a client.
type step struct {
	at     time.Duration // since the beginning
	action action
	length time.Duration // of a stall, a pause, …
	draw   uint32        // chooses a group, a direction, a number of bytes, …
}

// announcement is one message that the server sends by itself.
type announcement struct {
	at     time.Duration
	series int // 0: to everyone, otherwise to the group of this number
	size   int
}

// transport is how a client connects.
type transport uint8

const (
	resuming transport = iota // WebSockets with stateful reconnect
	negotiated
	direct // WebSockets without negotiation
	events
	polls
	transports = iota
)

var transportNames = [transports]string{"WebSockets with stateful reconnect", "WebSockets", "WebSockets without negotiation", "event streams", "long polling"}

// plan is everything that is decided before the test begins. It is a function of the seed, the number of clients and the duration.
type plan struct {
	seed          uint64
	duration      time.Duration
	groups        int // numbered from 1 on
	transports    []transport
	steps         [][]step         // of each client
	announcements [][]announcement // of each announcer
}

const (
	announcers = 4
	users      = 4 // clients per user

	longestAway = 16 * time.Second // after which the server has forgotten a client that does not come back
)

func newPlan(seed uint64, clients int, duration time.Duration) *plan {
	p := &plan{seed: seed, duration: duration, groups: max(3, clients/25)}
	pause := max(500*time.Millisecond, time.Duration(clients)*750*time.Microsecond)
	for i := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		p.transports = append(p.transports, drawTransport(random))
		p.steps = append(p.steps, drawSteps(random, duration, pause))
	}
	for i := range announcers {
		random := rand.New(rand.NewPCG(seed, 1<<32+uint64(i)))
		p.announcements = append(p.announcements, drawAnnouncements(random, p.groups, duration))
	}
	return p
}

func drawTransport(random *rand.Rand) transport {
	switch n := random.IntN(100); {
	case n < 45:
		return resuming
	case n < 65:
		return negotiated
	case n < 80:
		return direct
	case n < 90:
		return events
	}
	return polls
}

// drawSteps draws the steps of one client, with pauses of a mean length between them.
func drawSteps(random *rand.Rand, duration, pause time.Duration) (steps []step) {
	var sums [actions]int
	sum := 0
	for i, weight := range weights {
		sum += weight
		sums[i] = sum
	}
	at := time.Duration(random.Int64N(int64(min(duration/8, 5*time.Second))))
	for ; at < duration; at += time.Duration(random.ExpFloat64() * float64(pause)) {
		n, _ := slices.BinarySearch(sums[:], random.IntN(sum)+1)
		s := step{at: at, action: action(n), length: 100*time.Millisecond + time.Duration(random.Int64N(int64(2*time.Second))), draw: random.Uint32()}
		if random.IntN(50) == 0 && duration >= time.Minute {
			s.length = 8*time.Second + 4*s.length // beyond some of the server's limits
		}
		steps = append(steps, s)
	}
	return steps
}

func drawAnnouncements(random *rand.Rand, groups int, duration time.Duration) (all []announcement) {
	for at := time.Duration(0); at < duration; at += time.Duration(random.ExpFloat64() * float64(70*time.Millisecond)) {
		a := announcement{at: at, size: 10 + random.IntN(100)}
		if random.IntN(40) > 0 {
			a.series = 1 + random.IntN(groups)
		}
		if random.IntN(100) == 0 {
			a.size = 20_000
		}
		all = append(all, a)
	}
	return all
}

// mayAbandon reports whether a client may leave a session behind at a time: the server has forgotten it before the test ends.
func (p *plan) mayAbandon(at time.Duration) bool { return at < p.duration-longestAway }

func TestScheduleIsAFunctionOfItsSeed(t *testing.T) {
	one, again := newPlan(7, 50, 10*time.Second), newPlan(7, 50, 10*time.Second)
	require.Equal(t, one, again)
	require.NotEqual(t, one.steps, newPlan(8, 50, 10*time.Second).steps)
	seen := map[action]bool{}
	for _, steps := range newPlan(7, 1000, 10*time.Second).steps {
		require.True(t, slices.IsSortedFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) }))
		for _, s := range steps {
			seen[s.action] = true
		}
	}
	require.Len(t, seen, int(actions), "every action is drawn")
}
