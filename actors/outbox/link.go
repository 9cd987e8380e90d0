package outbox

import (
	"fmt"
	"runtime/debug"

	"github.com/troupe-go/troupe/internal/link"
)

// linkState is the transport under a box, and what ends with it. Another one can take its place: a writer that has taken output for a link
// that is no longer the current one drops it.
type linkState struct {
	socket link.Socket // nil: output is fetched
	fetch  *fetchState
	pong   *[]byte
}

// AttachSocket puts a socket under the box, in place of the link that it had. It returns false if the box is sealed. What has been taken
// for the former link is not written again, and the caller cuts that link.
func (b *Box) AttachSocket(s link.Socket) bool { return b.swap(linkState{socket: s}) }

// AttachFetcher puts a transport that fetches under the box, as AttachSocket does.
func (b *Box) AttachFetcher(f link.Fetcher) bool {
	return b.swap(linkState{fetch: &fetchState{fetcher: f, polls: f.Polls(), ready: make(chan struct{}, 1)}})
}

func (b *Box) swap(l linkState) bool {
	b.mu.Lock()
	if b.phase != open {
		b.mu.Unlock()
		return false
	}
	former := b.link.fetch
	b.link, b.state = l, idle
	b.setPeerTurn(l.fetch != nil)
	c := b.claimPending()
	b.mu.Unlock()
	b.wake(c, false)
	if former != nil {
		signal(former.ready) // a request that waits has to look
	}
	return true
}

// Kind is a kind of link.
type Kind uint8

// The kinds of links.
const (
	None   Kind = iota
	Socket      // it is written to
	Stream      // one request fetches everything
	Polls       // one request follows the other
)

// Kind returns the kind of the present link.
func (b *Box) Kind() Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch l := b.link; {
	case l.socket != nil:
		return Socket
	case l.fetch == nil:
		return None
	case l.fetch.polls:
		return Polls
	}
	return Stream
}

// Cut ends the link at once. A panic of the transport, which may be the application's, is logged.
func (b *Box) Cut() {
	b.mu.Lock()
	l := b.link
	b.mu.Unlock()
	defer func() {
		if reason := recover(); reason != nil {
			b.flusher.log.Error("cutting a link panicked", "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
		}
	}()
	switch {
	case l.fetch != nil:
		l.fetch.fetcher.Cut()
	case l.socket != nil:
		l.socket.Cut()
	}
}

// PushPong answers a ping of the WebSocket layer with a frame, which it keeps. A newer frame replaces one that has not been written.
func (b *Box) PushPong(frame []byte) {
	b.mu.Lock()
	var c claim
	if b.phase < finishing {
		b.link.pong = &frame
		c = b.claim()
	}
	b.mu.Unlock()
	b.wake(c, false)
}

// setPeerTurn says whether the peer has to take something before more can be written. Only that time counts against it. The lock is held.
func (b *Box) setPeerTurn(on bool) {
	if b.peerTurn == on {
		return
	}
	b.peerTurn = on
	if !on {
		b.stopHolding()
	} else if b.limited > b.mark() {
		b.startHolding()
	}
}
