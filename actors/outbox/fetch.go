package outbox

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// fetchState is what a box has instead of a socket when requests fetch its output.
type fetchState struct {
	fetcher  link.Fetcher
	polls    bool
	ready    chan struct{} // holds a token when the box has become queued
	attended atomic.Bool   // a request is there
	visited  atomic.Bool   // or was, since Visited was called last
}

// fetched returns the state of a link that fetches, or nil.
func (b *Box) fetched() *fetchState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.link.fetch
}

// Visited reports whether a request that fetches is there, or was since Visited was called last.
func (b *Box) Visited() bool {
	fetch := b.fetched()
	return fetch != nil && (fetch.visited.Swap(false) || fetch.attended.Load())
}

// Take is part of link.FetchSession.
func (b *Box) Take(ctx context.Context) (link.Output, error) {
	fetch := b.fetched()
	if fetch == nil {
		return nil, ErrReplaced
	}
	fetch.attended.Store(true)
	fetch.visited.Store(true)
	t, err := b.fetch(ctx, fetch)
	if err != nil {
		fetch.attended.Store(false)
		return nil, err
	}
	out := &output{box: b, fetch: fetch, taken: t, messages: make([][]byte, len(t.packets))}
	for i, p := range t.packets {
		out.messages[i] = p.b[wsframe.Room:]
	}
	return out, nil
}

// ErrReplaced is what Take returns when another link has taken the place of the one that the request belongs to.
var ErrReplaced = errors.New("hubsys: another transport carries the connection now")

// fetch waits for output: for an event stream a turn's worth, for a poll everything.
func (b *Box) fetch(ctx context.Context, fetch *fetchState) (t taken, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if fetch == b.link.fetch {
		b.setPeerTurn(false)
	}
	defer func() {
		if fetch == b.link.fetch {
			b.setPeerTurn(true) // the output is being delivered, or the client is away
		}
	}()
	for {
		if fetch != b.link.fetch {
			return t, ErrReplaced
		}
		if t = b.take(nil, fetch.polls); len(t.packets) > 0 {
			b.state = writing
			return t, nil
		}
		if b.phase >= sealed {
			last := b.phase != over
			b.phase = over
			if last {
				b.mu.Unlock()
				b.owner.Over()
				b.mu.Lock()
			}
			return t, io.EOF
		}
		b.state = idle
		b.mu.Unlock()
		select {
		case <-fetch.ready:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		b.mu.Lock()
		if err != nil {
			return t, err
		}
	}
}

// output is what a request has taken, and implements link.Output.
type output struct {
	taken
	box      *Box
	fetch    *fetchState
	messages [][]byte
}

func (o *output) Messages() [][]byte { return o.messages }

// Advance makes no room: if the delivery fails, everything is pending again.
func (o *output) Advance(n int) {
	o.box.mu.Lock()
	defer o.box.mu.Unlock()
	o.box.taken += uint32(n)
}

func (o *output) Done(delivered bool) {
	b := o.box
	o.fetch.attended.Store(false)
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.fetch == b.link.fetch {
		b.setPeerTurn(o.fetch.polls)
		b.state = queued // the next request looks
		if !delivered && b.phase != over {
			b.queue.putBack(o.packets)
			return
		}
	}
	b.uncount(o.charge, o.limited)
	for _, p := range o.packets {
		p.free()
	}
}
