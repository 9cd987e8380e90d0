package chaos

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// record is what the hub sees of one session, and what the client says about it when it has ended.
type record struct {
	id   string
	user string

	// Not under the lock: a method that waited for it would let the next call of its client begin.
	executed     atomic.Int64 // number of the last call
	disconnected atomic.Int32 // how often OnDisconnected has run

	mu         sync.Mutex
	connected  int
	refused    bool
	cause      error
	kicked     bool // the test disconnects it
	groups     []int
	told       int64
	toldGroups map[int]int64

	client *ending // nil: the client has never known the id, or the session goes on
}

// ending is what a client knows of a session that has ended.
type ending struct {
	client    int
	transport transport
	sent      int64 // number of the last call that was sent
	received  int64 // of the last one that the server has said it has
	answered  int64 // of the last one that was answered
	graceful  bool  // the client has closed, and the server has answered that
	forced    bool  // something was done that ends a session
	toldKick  bool  // the server has said that it disconnects the client, and no stream or question was open, behind which OnDisconnected need not wait
	trace     string
}

// world is the server, and what is known about all sessions.
type world struct {
	plan    *plan
	report  *report
	hub     *hubsys.HubContext
	proxy   *proxy
	began   time.Time
	senders [announcers]*announcer

	mu      sync.Mutex
	records map[string]*record
	floods  atomic.Int64
}

func (w *world) since() time.Duration { return time.Since(w.began) }

// record returns the record of a session, by the id of its connection.
func (w *world) record(id string) *record {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.records[id]
	if r == nil {
		r = &record{id: id, toldGroups: map[int]int64{}}
		w.records[id] = r
	}
	return r
}

func groupName(series int) string { return fmt.Sprint("group ", series) }

// announcer sends to groups and to everyone from outside of the hub.
type announcer struct {
	number  int
	total   int64
	started []atomic.Int64 // by series: number of the last message whose sending has begun
	done    []atomic.Int64 // and of the last one whose sending has ended
}

func (a *announcer) run(w *world) {
	name := fmt.Sprint("announcer ", a.number)
	for _, one := range w.plan.announcements[a.number] {
		time.Sleep(one.at - w.since())
		if w.since() > w.plan.duration {
			return
		}
		a.total++
		n := note{Sender: name, Announcer: a.number, Total: a.total, Series: one.series, Pad: strings.Repeat("x", one.size)}
		n.Number = a.started[one.series].Add(1)
		to := w.hub.Clients().All()
		if one.series != everyone {
			to = w.hub.Clients().Group(groupName(one.series))
		}
		if err := to.Send(context.Background(), "note", n); err != nil {
			w.report.violation("%s could not send: %v", name, err)
		}
		a.done[one.series].Store(n.Number)
	}
}

// from returns the numbers from which on everything is due to a client that is a member now.
func (w *world) from(series int) (numbers []int64) {
	for _, a := range w.senders {
		numbers = append(numbers, a.started[series].Load()+1)
	}
	return numbers
}

// done returns the numbers up to which everything has been sent.
func (w *world) done(series int) (numbers []int64) {
	for _, a := range w.senders {
		numbers = append(numbers, a.done[series].Load())
	}
	return numbers
}

// chaosHub is the hub. The first argument of most methods is the number of the call within its session.
type chaosHub struct {
	hubsys.Hub
	w *world
}

var (
	recordItem = hubsys.Item[*record]("record")
	fromItem   = hubsys.Item[[]int64]("from")
)

const (
	endQuery    = "end" // how OnDisconnected ends
	refuseQuery = "refuse"
	userQuery   = "user"
)

var errRefused = errors.New("refused by the test")

// authenticate gives each client the user that it names.
func authenticate(r *http.Request) (*hubsys.Principal, error) {
	return &hubsys.Principal{UserID: r.URL.Query().Get(userQuery)}, nil
}

// misbehave ends a method in a way that is named.
func misbehave(how string) error {
	switch how {
	case "panic":
		panic("chaos")
	case "goexit":
		runtime.Goexit()
	case "error":
		return errRefused
	}
	return nil
}

func (h *chaosHub) OnConnected(context.Context) error {
	from := h.w.from(everyone)
	r := h.w.record(h.Call().ConnectionID())
	how := h.Call().Request().Query(refuseQuery)
	r.mu.Lock()
	r.connected++
	r.user = h.Call().UserID()
	r.refused = how != ""
	r.mu.Unlock()
	recordItem.Store(h.Call(), r)
	fromItem.Store(h.Call(), from)
	return misbehave(how)
}

func (h *chaosHub) OnDisconnected(_ context.Context, cause error) error {
	r := h.w.record(h.Call().ConnectionID())
	times := r.disconnected.Add(1)
	r.mu.Lock()
	r.cause = cause
	if r.connected != 1 || times != 1 || r.refused {
		h.w.report.violation("session %s: OnDisconnected runs for the %d. time, OnConnected has run %d times, refused %t", r.id, times, r.connected, r.refused)
	}
	r.mu.Unlock()
	return misbehave(h.Call().Request().Query(endQuery))
}

// execute records that a call is executed.
func (h *chaosHub) execute(number int64) *record {
	r, _ := recordItem.Load(h.Call())
	h.w.report.checked[checkExecuted].add()
	if former, ended := r.executed.Swap(number), r.disconnected.Load(); former != number-1 || ended > 0 {
		h.w.report.violation("session %s: call %d (%s) is executed behind call %d, OnDisconnected has run %d times", r.id, number, h.Call().Method(), former, ended)
	}
	return r
}

// greeting is the answer of Hello.
type greeting struct {
	ID   string  `json:"id"`
	From []int64 `json:"from"`
}

func (h *chaosHub) Hello() greeting {
	from, _ := fromItem.Load(h.Call())
	return greeting{h.Call().ConnectionID(), from}
}

func (h *chaosHub) Do(number int64, _ string) int64 {
	h.execute(number)
	return number
}

func (h *chaosHub) Slow(number, milliseconds int64) int64 {
	h.execute(number)
	time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	return number
}

func (h *chaosHub) Misbehave(number int64, how string) error {
	h.execute(number)
	return misbehave(how)
}

func (h *chaosHub) Count(number int64, n int) iter.Seq2[int, error] {
	h.execute(number)
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Ask asks the client, and returns its answer.
func (h *chaosHub) Ask(ctx context.Context, number int64) (int64, error) {
	h.execute(number)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return hubsys.Invoke[int64](ctx, h.w.hub.Clients().Client(h.Call().ConnectionID()), "double", note{Number: number})
}

// askTimeout is how long a client may take to answer. A test that passes does not wait that long.
const askTimeout = 5 * time.Minute

func (h *chaosHub) Join(ctx context.Context, number int64, series int) ([]int64, error) {
	r := h.execute(number)
	if err := h.Groups().Join(ctx, groupName(series)); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.groups = append(r.groups, series)
	r.mu.Unlock()
	return h.w.from(series), nil
}

func (h *chaosHub) Leave(ctx context.Context, number int64, series int) ([]int64, error) {
	r := h.execute(number)
	done := h.w.done(series)
	if err := h.Groups().Leave(ctx, groupName(series)); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.groups = slices.DeleteFunc(r.groups, func(one int) bool { return one == series })
	r.mu.Unlock()
	return done, nil
}

// List returns the groups that the client is in.
func (h *chaosHub) List(ctx context.Context, number int64) ([]string, error) {
	h.execute(number)
	return h.w.hub.Clients().Client(h.Call().ConnectionID()).Groups(ctx)
}

// sent says what has been sent to a series.
type sent struct {
	Series int     `json:"g"`
	Done   []int64 `json:"done"`
}

// Sync returns what has been sent to the groups of the client, and to everyone.
func (h *chaosHub) Sync(number int64) (all []sent) {
	r := h.execute(number)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, series := range append([]int{everyone}, r.groups...) {
		all = append(all, sent{series, h.w.done(series)})
	}
	return all
}

// Tell sends to a group, and returns the number of the message there.
func (h *chaosHub) Tell(ctx context.Context, number int64, series, size int) (int64, error) {
	r := h.execute(number)
	r.mu.Lock()
	r.told++
	r.toldGroups[series]++
	n := note{Sender: r.id, Announcer: -1, Total: r.told, Series: series, Number: r.toldGroups[series], Pad: strings.Repeat("y", size)}
	r.mu.Unlock()
	return n.Number, h.Clients().Group(groupName(series)).Send(ctx, "note", n)
}
