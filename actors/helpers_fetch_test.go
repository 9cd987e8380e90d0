package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

// puller is the peer of a connection whose output is fetched, and its transport.
type puller struct {
	w     *world
	conn  *Connection
	turn  chan struct{} // for one goroutine at a time, see client
	polls bool
	deaf  bool // Cut does not end a fetch

	mu     sync.Mutex
	over   bool
	cancel context.CancelCauseFunc // of the fetch that runs
	got    []byte
}

func (p *puller) Polls() bool { return p.polls }

func (p *puller) Cut() {
	p.mu.Lock()
	first := !p.over
	p.over = true
	cancel := p.cancel
	p.mu.Unlock()
	if !first {
		return
	}
	if cancel != nil && !p.deaf {
		cancel(errCut)
	}
	if p.conn != nil {
		p.conn.End(nil)
	}
}

// pull opens a connection that has not said anything yet.
func (w *world) pull(id string, polls bool) *puller {
	w.t.Helper()
	p := &puller{w: w, polls: polls, turn: make(chan struct{}, 1)}
	settings := w.settings
	var err error
	p.conn, err = w.hub.ConnectFetcher(id, "", p, &settings, nil)
	require.NoError(w.t, err)
	w.t.Cleanup(p.Cut)
	return p
}

// greet opens a connection that has shaken hands, and fetches the answer.
func (w *world) greet(id string, polls bool) *puller {
	w.t.Helper()
	p := w.pull(id, polls)
	p.write(`{"protocol":"json","version":1}`)
	w.settle()
	require.Equal(w.t, []string{"{}"}, p.poll())
	return p
}

func (p *puller) write(records ...string) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	b := []byte(strings.Join(records, "\x1e") + "\x1e")
	for len(b) > 0 {
		n := copy(p.conn.Buffer(), b)
		p.conn.Commit(n)
		b = b[n:]
	}
}

var errCut = errors.New("the request was cut")

// fetch takes output once, and passes it to take. It returns false at the end of all output.
func (p *puller) fetch(ctx context.Context, take func(b []byte, taken func(int)) error) (more bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.cancel = cancel
	p.mu.Unlock()
	out, err := p.conn.Take(ctx)
	if err != nil {
		if err == io.EOF {
			return false, nil
		}
		return true, err
	}
	delivered := false
	defer func() { out.Done(delivered) }()
	err = take(slices.Concat(out.Messages()...), out.Advance)
	delivered = err == nil
	return true, err
}

// keep takes everything.
func (p *puller) keep(b []byte, taken func(int)) error {
	taken(len(b))
	p.mu.Lock()
	p.got = append(p.got, b...)
	p.mu.Unlock()
	return nil
}

// poll takes what is there, without waiting.
func (p *puller) poll() []string {
	p.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p.mu.Lock()
	before := len(p.got)
	p.mu.Unlock()
	_, _ = p.fetch(ctx, p.keep)
	p.w.settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	return cut(p.w.t, p.got[before:])
}

// cut cuts whole messages apart.
func cut(t require.TestingT, b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	require.Equal(t, byte(0x1e), b[len(b)-1], "half a message: %.100q", b)
	return strings.Split(string(b[:len(b)-1]), "\x1e")
}

// all fetches until the end, in the background.
func (p *puller) all() (ended chan error) {
	ended = make(chan error, 1)
	go func() {
		for {
			more, err := p.fetch(context.Background(), p.keep)
			if !more || err != nil {
				ended <- err
				p.Cut()
				return
			}
		}
	}()
	return ended
}

func (p *puller) records() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cut(p.w.t, slices.Clone(p.got))
}

// slow is the cause of a connection whose outbox was full.
func (w *world) slow() error {
	return fmt.Errorf("%w of %d bytes", ErrSlowClient, w.settings.OutboxLimit)
}

func lived(id string, cause error) []string {
	return []string{"connected " + id, fmt.Sprintf("disconnected %s: %v", id, cause)}
}

// pace takes bytes at a rate, as a socket does.
func (p *puller) pace(perSecond int) func(b []byte, taken func(int)) error {
	return func(b []byte, taken func(int)) error {
		for len(b) > 0 {
			n := min(len(b), perSecond/100)
			select {
			case <-time.After(second / 100):
			case <-p.conn.Done():
				return errCut
			}
			if err := p.keep(b[:n], taken); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
}

// take fetches at a rate until the end.
func (p *puller) take(perSecond int) {
	for {
		more, err := p.fetch(context.Background(), p.pace(perSecond))
		if !more || err != nil {
			p.Cut()
			return
		}
	}
}
