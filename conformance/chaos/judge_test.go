package chaos

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/troupe-go/troupe/hubsys"
)

func newAnnouncer(number, groups int) *announcer {
	return &announcer{number: number, started: make([]atomic.Int64, groups+1), done: make([]atomic.Int64, groups+1)}
}

// expectKick says that the sessions may be disconnected by the server, which drops calls that wait.
func (w *world) expectKick(which func(*record) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records {
		r.mu.Lock()
		if r.disconnected.Load() == 0 && which(r) {
			r.kicked = true
		}
		r.mu.Unlock()
	}
}

// judge compares what the hub has seen of each session with what its client knows, when everything is over.
func (w *world) judge() {
	for _, r := range w.records {
		if err := w.judgeOne(r); err != nil {
			client := "which its client does not know"
			if r.client != nil {
				client = fmt.Sprintf("of client %d (%s), sent %d, received %d, answered %d, graceful %t:%s", r.client.client, transportNames[r.client.transport],
					r.client.sent, r.client.received, r.client.answered, r.client.graceful, r.client.trace)
			}
			w.report.violation("session %s, cause %v, executed %d, kicked %t: %v; %s", r.id, r.cause, r.executed.Load(), r.kicked, err, client)
		}
	}
}

// isLimit reports whether a session was ended because of a time or a limit of the server.
func isLimit(cause error) bool {
	return errors.Is(cause, hubsys.ErrSlowClient) || errors.Is(cause, hubsys.ErrSendTimeout) || errors.Is(cause, hubsys.ErrClientTimeout)
}

func isKick(cause error) bool {
	var e *hubsys.HubError
	return errors.As(cause, &e) && e.Message == kicked
}

func (w *world) judgeOne(r *record) error {
	checked := &w.report.checked
	if r.connected == 0 && r.disconnected.Load() == 0 { // negotiated, or never greeted
		if r.client != nil && r.client.answered > 0 {
			return errors.New("calls were answered, and OnConnected has not run")
		}
		return nil
	}
	checked[checkSessions].add()
	if r.connected != 1 || !r.refused && r.disconnected.Load() != 1 || r.refused && r.disconnected.Load() != 0 {
		return fmt.Errorf("OnConnected has run %d times, OnDisconnected %d times, refused %t", r.connected, r.disconnected.Load(), r.refused)
	}
	if isLimit(r.cause) {
		w.report.slow.add()
	}
	e := r.client
	if e == nil || r.refused {
		return nil
	}
	if r.executed.Load() > e.sent || e.answered > r.executed.Load() {
		return errors.New("calls were executed that were not sent, or answered that were not executed")
	}
	if r.cause == nil && !r.kicked {
		checked[checkReceived].add()
		if e.received > r.executed.Load() {
			return errors.New("calls that were received were not executed")
		}
	}
	if e.graceful && !r.kicked {
		checked[checkGraceful].add()
		if e.sent != r.executed.Load() || r.cause != nil {
			return errors.New("calls in front of a Close, or a close frame, were not executed")
		}
	}
	checked[checkCauses].add()
	if e.toldKick && !isKick(r.cause) {
		return errors.New("the client was told another reason than the hub")
	}
	if hasReason := e.forced || isLimit(r.cause) || isKick(r.cause) || r.kicked && r.cause == nil; !hasReason {
		return errors.New("the session has ended without a reason")
	}
	return nil
}
