package hubactor

import "sync"

// progress is how far a message has come on its way to an actor.
type progress struct {
	mu        sync.Mutex
	delivered bool // the actor gets the message, or has got it
	abandoned bool // nobody waits for an answer any more, so the actor does not get it
	over      bool // it takes no room in the mailbox any more
	next      func()
}

// claim is called when it is the message's turn. It returns false if the actor need not get it.
func (p *progress) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delivered = !p.abandoned
	return p.delivered
}

// abandon says that nobody waits for an answer any more. It returns false if the actor has got the message.
func (p *progress) abandon() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abandoned = !p.delivered
	return p.abandoned
}

// handled is called when the message's turn is over, each time that it comes.
func (p *progress) handled() {
	p.mu.Lock()
	p.over = true
	next := p.next
	p.next = nil
	p.mu.Unlock()
	if next != nil {
		next()
	}
}

// then has next called when the message's turn is over, at once if it is.
func (p *progress) then(next func()) {
	p.mu.Lock()
	over := p.over
	if !over {
		p.next = next
	}
	p.mu.Unlock()
	if over {
		next()
	}
}
