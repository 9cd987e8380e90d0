package actors

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/metric"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// results are the calls of clients' methods whose results somebody waits for (docs/protocol.md, 7.2). One counter for the hub numbers them, so that
// an answer that comes from another connection is seen.
type results struct {
	last    atomic.Uint64
	mu      sync.Mutex
	waiting map[string]*pendingResult
}

// pendingResult is what one caller waits for.
type pendingResult struct {
	conn   *Connection
	answer chan answer // takes one, and is sent it under the lock
}

// answer is a Completion, and the batch whose memory it lies in.
type answer struct {
	batch   *batch
	message *hubproto.Message
}

// goneError says that a client cannot answer because its connection does not exist, or has ended while it was waited for.
type goneError struct {
	id      string
	existed bool
}

func (e *goneError) Error() string {
	if e.existed {
		return "Connection '" + e.id + "' disconnected."
	}
	return "Connection '" + e.id + "' does not exist."
}

func (e *goneError) Is(target error) bool { return target == ErrGone }

// Errors of Hub.Invoke.
var (
	ErrGone          = errors.New("hubsys: the connection is gone")
	ErrUnanswered    = errors.New("Invocation canceled by the server.")
	ErrInboundFull   = errors.New("hubsys: the client's answer lies behind more than twice InboundLimit")
	ErrInvokeTimeout = errors.New("hubsys: the client has not answered within InvokeTimeout")
	ErrNoResult      = errors.New("hubsys: the client has answered without a result")
)

// Invoke calls a method of one client, and passes the result to bind. The slot of the hub method that waits, if one does, is free from then on, so
// that its client can call the hub before it answers.
//
// The errors are a *ClientError if the client's method has failed; ErrGone; ErrUnanswered, wrapping the cause of ctx, if that ended first;
// ErrNoResult; ErrInboundFull; those of Send; and those of bind.
func (h *Hub) Invoke(ctx context.Context, to *Audience, target string, args []any, bind func(p hubproto.Protocol, value []byte) error) error {
	if h.sys.stopped.Load() {
		return ErrShutdown
	}
	c := to.Conn
	if to.Kind == Connections {
		c = h.Connection(to.Names[0])
		if c == nil && h.sys.nodes != nil {
			return h.invokeElsewhere(ctx, to.Names[0], target, args, bind)
		}
		if c == nil {
			return &goneError{id: to.Names[0]}
		}
	}
	if !c.hasResults() {
		return ErrNotSupported
	}
	if c.isClosing.Load() {
		return &goneError{id: c.id, existed: true}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ErrUnanswered, context.Cause(ctx))
	}
	r := &pendingResult{conn: c, answer: make(chan answer, 1)}
	id := h.results.add(r)
	defer h.results.end(id, r)
	m := &message{hub: h, id: []byte(id), target: target, args: args}
	if err := m.encode(1 << c.protocol); err != nil {
		return err
	}
	passSlot(ctx)
	_, limited := ctx.Deadline()
	a, err := h.await(ctx, r, id, m.packets[c.protocol], limited)
	if err != nil {
		return err
	}
	return r.take(a, bind)
}

// passSlot frees the slot of the call that is going to wait for an answer, if there is one.
func passSlot(ctx context.Context) {
	if k := CallOf(ctx); k != nil {
		k.conn.out.Schedule() // what its worker has left unwritten shall not wait as well
		k.conn.passTurn(k, true)
	}
}

// await sends a client a call, and waits for the answer. If no time was set, InvokeTimeout holds. The result has been added, and is to be removed.
func (h *Hub) await(ctx context.Context, r *pendingResult, id string, call *outbox.Packet, limited bool) (none answer, err error) {
	c := r.conn
	if !limited && c.settings.InvokeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.settings.InvokeTimeout, fmt.Errorf("%w of %s", ErrInvokeTimeout, c.settings.InvokeTimeout))
		defer cancel()
	}
	answers := c.in.awaitAnswer()
	defer c.in.answerDone(answers)
	if err := waitToPush(ctx, c); err != nil {
		return none, fmt.Errorf("%w (%w)", ErrUnanswered, err)
	}
	c.out.Push(call, false, true) // whoever waits for the answer does not wait for room
	select {
	case a := <-r.answer:
		return a, nil
	case <-answers.failed:
	case <-c.Done():
	case <-ctx.Done():
	}
	switch {
	case h.results.remove(id) == nil: // the answer came before
		return <-r.answer, nil
	case c.isClosing.Load():
		return none, &goneError{id: c.id, existed: true}
	case ctx.Err() != nil:
		return none, fmt.Errorf("%w (%w)", ErrUnanswered, context.Cause(ctx))
	}
	h.sys.counts.limits.Reach(metric.Answers)
	return none, fmt.Errorf("%w of %d bytes", ErrInboundFull, c.settings.InboundLimit)
}

func (r *pendingResult) take(a answer, bind func(hubproto.Protocol, []byte) error) error {
	defer a.batch.done(1)
	switch {
	case a.message.HasError:
		return &ClientError{Text: string(a.message.Error)}
	case a.message.Value == nil:
		return ErrNoResult
	}
	return bind(r.conn.Protocol(), a.message.Value)
}

func (rs *results) add(r *pendingResult) (id string) {
	id = "s" + strconv.FormatUint(rs.last.Add(1), 10)
	rs.addAs(id, r)
	return id
}

// addAs adds a result whose id another node has made.
func (rs *results) addAs(id string, r *pendingResult) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.waiting == nil {
		rs.waiting = map[string]*pendingResult{}
	}
	rs.waiting[id] = r
}

// remove ends the wait for a result. It returns nil if that has ended already.
func (rs *results) remove(id string) *pendingResult {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting[id]
	delete(rs.waiting, id)
	return r
}

// end is remove for a caller that may not have been given the answer: clients can guess ids, and answer before they are asked.
func (rs *results) end(id string, r *pendingResult) {
	rs.remove(id)
	select {
	case a := <-r.answer:
		a.batch.done(1)
	default:
	}
}

// answer passes a Completion to whoever waits for it. One that nobody waits for is ignored; one that another connection was asked for is an
// error of the client that sends it.
func (rs *results) answer(c *Connection, b *batch, m *hubproto.Message) (kept bool, err error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting[string(m.ID)]
	switch {
	case r == nil:
		return false, nil
	case r.conn != c:
		return false, &hubproto.DataError{Text: fmt.Sprintf("Connection ID '%s' is not valid for invocation ID '%s'.", c.id, m.ID)}
	}
	delete(rs.waiting, string(m.ID))
	r.answer <- answer{b, m}
	return true, nil
}
