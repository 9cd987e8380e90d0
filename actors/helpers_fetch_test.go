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

// fetchClient is the client of a connection whose output is fetched, and the transport of that connection.
type fetchClient struct {
	env        *env
	conn       *Connection
	readLock   chan struct{} // see client
	polls      bool
	ignoresCut bool // Cut does not cancel the running fetch

	mu       sync.Mutex
	isCut    bool
	cancel   context.CancelCauseFunc // cancels the running fetch
	received []byte
}

func (f *fetchClient) Polls() bool { return f.polls }

func (f *fetchClient) Cut() {
	f.mu.Lock()
	first := !f.isCut
	f.isCut = true
	cancel := f.cancel
	f.mu.Unlock()
	if !first {
		return
	}
	if cancel != nil && !f.ignoresCut {
		cancel(errCut)
	}
	if f.conn != nil {
		f.conn.End(nil)
	}
}

// connectFetcher opens a connection without sending a handshake request.
func (e *env) connectFetcher(id string, polls bool) *fetchClient {
	e.t.Helper()
	return e.connectFetcherAs(id, &Identity{}, polls)
}

func (e *env) connectFetcherAs(id string, who *Identity, polls bool) *fetchClient {
	e.t.Helper()
	f := &fetchClient{env: e, polls: polls, readLock: make(chan struct{}, 1)}
	settings := e.settings
	var err error
	f.conn, err = e.hub.ConnectFetcher(id, who, f, &settings)
	require.NoError(e.t, err)
	e.t.Cleanup(f.Cut)
	return f
}

// openFetcher opens a connection, completes the handshake and fetches the handshake response.
func (e *env) openFetcher(id string, polls bool) *fetchClient {
	e.t.Helper()
	f := e.connectFetcher(id, polls)
	f.send(`{"protocol":"json","version":1}`)
	e.settle()
	require.Equal(e.t, []string{"{}"}, f.poll())
	return f
}

func (f *fetchClient) send(records ...string) {
	f.readLock <- struct{}{}
	defer func() { <-f.readLock }()
	b := []byte(strings.Join(records, "\x1e") + "\x1e")
	for len(b) > 0 {
		n := copy(f.conn.Buffer(), b)
		f.conn.Commit(n)
		b = b[n:]
	}
}

var errCut = errors.New("the request was cut")

// fetch takes output once and passes it to take. It returns more = false after the last output.
func (f *fetchClient) fetch(ctx context.Context, take func(b []byte, taken func(int)) error) (more bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.mu.Lock()
	f.cancel = cancel
	f.mu.Unlock()
	out, err := f.conn.Take(ctx)
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

// collect stores all of the output.
func (f *fetchClient) collect(b []byte, taken func(int)) error {
	taken(len(b))
	f.mu.Lock()
	f.received = append(f.received, b...)
	f.mu.Unlock()
	return nil
}

// poll fetches and returns the pending output, without waiting for any.
func (f *fetchClient) poll() []string {
	f.env.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.mu.Lock()
	before := len(f.received)
	f.mu.Unlock()
	_, _ = f.fetch(ctx, f.collect)
	f.env.settle()
	f.mu.Lock()
	defer f.mu.Unlock()
	return splitRecords(f.env.t, f.received[before:])
}

// splitRecords splits b, which must consist of complete records.
func splitRecords(t require.TestingT, b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	require.Equal(t, byte(0x1e), b[len(b)-1], "incomplete record: %.100q", b)
	return strings.Split(string(b[:len(b)-1]), "\x1e")
}

// fetchAll fetches on another goroutine until the output ends. The returned channel receives the result.
func (f *fetchClient) fetchAll() (ended chan error) {
	ended = make(chan error, 1)
	go func() {
		for {
			more, err := f.fetch(context.Background(), f.collect)
			if !more || err != nil {
				ended <- err
				f.Cut()
				return
			}
		}
	}()
	return ended
}

func (f *fetchClient) records() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return splitRecords(f.env.t, slices.Clone(f.received))
}

// slowClientError returns the error with which a connection is closed whose outbox is full.
func (e *env) slowClientError() error {
	return fmt.Errorf("%w of %d bytes", ErrSlowClient, e.settings.OutboxLimit)
}

func lifetimeEvents(id string, cause error) []string {
	return []string{"connected " + id, fmt.Sprintf("disconnected %s: %v", id, cause)}
}

// collectAtRate returns a function that stores output at a rate in bytes per second.
func (f *fetchClient) collectAtRate(perSecond int) func(b []byte, taken func(int)) error {
	return func(b []byte, taken func(int)) error {
		for len(b) > 0 {
			n := min(len(b), perSecond/100)
			select {
			case <-time.After(second / 100):
			case <-f.conn.Done():
				return errCut
			}
			if err := f.collect(b[:n], taken); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
}

// fetchAtRate fetches at a rate in bytes per second until the output ends.
func (f *fetchClient) fetchAtRate(perSecond int) {
	for {
		more, err := f.fetch(context.Background(), f.collectAtRate(perSecond))
		if !more || err != nil {
			f.Cut()
			return
		}
	}
}
