package chaos

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// tally counts something.
type tally struct{ atomic.Int64 }

func (t *tally) add() { t.Add(1) }

// What is checked.
const (
	checkExecuted = iota
	checkAnswers
	checkItems
	checkOrder
	checkGaps
	checkJoins
	checkDone
	checkLists
	checkAgain
	checkResumed
	checkAcks
	checkSessions
	checkReceived
	checkGraceful
	checkCauses
	checkRefused

	checks
)

var checkNames = [checks]string{
	checkExecuted: "calls executed once, in order, without a gap", checkAnswers: "answers: in order, once, and the right ones",
	checkItems: "stream items in order", checkOrder: "messages in the order of their sender, once", checkGaps: "messages without a gap",
	checkJoins: "nothing missing behind a join", checkDone: "messages sent before an answer came before it", checkLists: "lists of groups",
	checkAgain: "messages that came again were the same", checkResumed: "sessions that went on over another WebSocket",
	checkAcks: "acknowledgements of the server", checkSessions: "OnConnected and OnDisconnected once each", checkReceived: "received means executed",
	checkGraceful: "closed by the client: all executed and answered", checkCauses: "ends that have a reason", checkRefused: "connections refused by OnConnected",
}

// report counts what was done and what was checked, and collects violations of the model.
type report struct {
	done    [actions]tally
	skipped tally // steps whose time was over, or which did not fit
	checked [checks]tally

	connected [transports]tally
	retries   tally
	resent    tally
	slow      tally // sessions that the server has ended because of a time or a limit

	mu         sync.Mutex
	violations []string
	more       int
}

const mostViolations = 20

// violation records that the model was violated.
func (r *report) violation(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.violations) < mostViolations {
		r.violations = append(r.violations, fmt.Sprintf(format, args...))
	} else {
		r.more++
	}
}

func (r *report) table(p *plan, took time.Duration) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(&b, "seed %d, %d clients, %s, %s in all\n", p.seed, len(p.steps), p.duration, took.Round(100*time.Millisecond))
	row := func(n int64, name string) { fmt.Fprintf(w, "%d\t  %s\n", n, name) }
	fmt.Fprint(w, "\t  CONNECTED\n")
	for i := range r.connected {
		row(r.connected[i].Load(), transportNames[i])
	}
	row(r.retries.Load(), "attempts that failed and were repeated")
	fmt.Fprint(w, "\t  INJECTED\n")
	for i := range r.done {
		row(r.done[i].Load(), actionNames[i])
	}
	row(r.skipped.Load(), "steps that did not fit, or whose time was over")
	fmt.Fprint(w, "\t  CHECKED\n")
	for i := range r.checked {
		row(r.checked[i].Load(), checkNames[i])
	}
	row(r.resent.Load(), "messages of clients that were sent again")
	row(r.slow.Load(), "sessions ended by a time or a limit of the server")
	row(int64(len(r.violations)+r.more), "VIOLATIONS")
	w.Flush()
	return b.String()
}
