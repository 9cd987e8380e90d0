package actors

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// results are the calls of clients' methods whose results somebody waits for (spec §7.2). One counter for the hub numbers them, so that
// an answer that comes from another connection is seen.
type results struct {
	mu      sync.Mutex
	last    uint64
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

// GoneError says that a client cannot answer because its connection does not exist, or has ended while it was waited for.
type GoneError struct {
	ID      string
	Existed bool
}

func (e *GoneError) Error() string {
	if e.Existed {
		return "Connection '" + e.ID + "' disconnected."
	}
	return "Connection '" + e.ID + "' does not exist."
}

// Errors of Ask.
var (
	ErrUnanswered  = errors.New("Invocation canceled by the server.")
	ErrInboundFull = errors.New("troupe: the client's answer lies behind more than twice InboundLimit")
	ErrNoResult    = errors.New("troupe: the client has answered without a result")
)

// Ask calls a method of one client and gives the result to bind. The invocation slot of the hub method that asks, if one does, is free
// from then on, so that its client can call the hub before it answers.
//
// The errors: a *ClientError if the client's method has failed; a *GoneError; ErrUnanswered, wrapping the cause of ctx, if that ended
// first; ErrNoResult; ErrInboundFull; those of Send; and what bind returns.
func (h *Hub) Ask(ctx context.Context, to *Audience, target string, args []any, bind func(p hubproto.Protocol, value []byte) error) error {
	if h.sys.stopped.Load() {
		return ErrShutdown
	}
	c := to.Conn
	if to.Kind == Connections {
		c = h.sys.connections.find(to.Names[0])
		if c == nil || c.hub != h {
			return &GoneError{ID: to.Names[0]}
		}
	}
	if c.closed.Load() {
		return &GoneError{ID: c.id, Existed: true}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ErrUnanswered, context.Cause(ctx))
	}
	r := &pendingResult{conn: c, answer: make(chan answer, 1)}
	id := h.results.add(r)
	defer h.results.remove(id)
	m := message{hub: h, id: []byte(id), target: target, args: args}
	if err := m.encode(1 << c.protocol); err != nil {
		return err
	}
	k := CallOf(ctx)
	if k != nil {
		k.conn.out.schedule() // what its worker has left unwritten shall not wait, too
		k.conn.pass(k, true)
	}
	asking := c.in.ask()
	defer c.in.asked(asking)
	if err := c.out.waitToPush(ctx); err != nil {
		return fmt.Errorf("%w (%w)", ErrUnanswered, err)
	}
	c.out.push(m.packets[c.protocol], false, true) // whoever waits for the answer does not wait for room
	select {
	case a := <-r.answer:
		return r.take(a, bind)
	case <-asking.failed:
	case <-c.Done():
	case <-ctx.Done():
	}
	switch {
	case h.results.remove(id) == nil: // the answer came before
		return r.take(<-r.answer, bind)
	case c.closed.Load():
		return &GoneError{ID: c.id, Existed: true}
	case ctx.Err() != nil:
		return fmt.Errorf("%w (%w)", ErrUnanswered, context.Cause(ctx))
	}
	return fmt.Errorf("%w of %d bytes", ErrInboundFull, c.settings.InboundLimit)
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
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.last++
	id = "s" + strconv.FormatUint(rs.last, 10)
	if rs.waiting == nil {
		rs.waiting = map[string]*pendingResult{}
	}
	rs.waiting[id] = r
	return id
}

// remove gives up waiting. It returns nil if that is over already.
func (rs *results) remove(id string) *pendingResult {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting[id]
	delete(rs.waiting, id)
	return r
}

// answer hands a Completion to who waits for it. One that nobody waits for is nobody's error; one that another connection was asked
// for is the fault of who sends it.
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

// asking is there while somebody waits for answers of a client: they may lie behind what its reader would wait with.
type asking struct {
	count  int
	failed chan struct{} // closed when too much lies before them
}

func (in *input) ask() *asking {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.asking == nil {
		in.asking = &asking{failed: make(chan struct{})}
		in.look()
	}
	in.asking.count++
	return in.asking
}

func (in *input) asked(a *asking) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if a.count--; a.count == 0 && in.asking == a {
		in.asking = nil
	}
}
