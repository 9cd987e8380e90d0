package actors

import "github.com/troupe-go/troupe/actors/outbox"

// runLifetime starts OnConnected or OnDisconnected.
func (c *Connection) runLifetime(e event) {
	c.lifetime = c.newLifetime(e)
	c.hub.sys.workers.do(c.lifetime)
}

func (c *Connection) newLifetime(e event) *Call {
	k := &Call{conn: c, who: c.who.Load(), event: e}
	k.extra.Store(&callExtra{returned: make(chan error, 1)})
	return k
}

// isLifetime reports whether the call is OnConnected or OnDisconnected, which the run queue does not hold.
func (k *Call) isLifetime() bool { return k.event == connected || k.event == disconnected }

// returned returns a channel that gets the error of a lifetime event when it has returned.
func (k *Call) returned() chan error { return k.extra.Load().returned }

// work runs a lifetime event on a worker. (Invocations are run by the work of their connection.) The text for the client is made here as well,
// because code of the application is called for it.
func (k *Call) work() {
	ended := &lifetimeEnded{event: k.event, err: &PanicError{}}
	returned := false
	defer func() {
		k.end()
		k.returned() <- ended.err
		k.conn.mailbox.postInline(ended)
	}()
	defer func() {
		if ended.err != nil {
			ended.text = connectedText
			ended.text = k.describe(ended.err) // unless that calls runtime.Goexit as well
		}
	}()
	defer func() {
		if reason := recover(); !returned {
			ended.err = k.panicked(reason)
		}
	}()
	if k.event == disconnected {
		if k.conn.part.hasEvents() {
			k.conn.hub.handler.Disconnected(k, k.conn.closing.cause)
		}
		ended.err, returned = nil, true
		return
	}
	w := outbox.BorrowWriter() // the answer to the handshake leaves before user code runs
	w.Flush(&k.conn.out)
	outbox.ReturnWriter(w)
	ended.err = k.conn.openingEvent(k)
	returned = true
}

// connectedText is what the text of a Close that is due to an error begins with.
const connectedText = "Connection closed with an error."

// describe returns the text of a Close that is due to err.
func (k *Call) describe(err error) (text string) {
	defer func() {
		if reason := recover(); reason != nil {
			_ = k.panicked(reason)
			text = connectedText
		}
	}()
	return k.conn.hub.handler.Describe(connectedText, err)
}

// lifetimeEnded says that OnConnected or OnDisconnected has returned.
type lifetimeEnded struct {
	event event
	err   error
	text  string // of the error, for the client
}

func (*lifetimeEnded) refuse() {}

func (c *Connection) onLifetimeEnded(m *lifetimeEnded) {
	c.lifetime = nil
	switch {
	case m.event == disconnected:
	case m.err != nil && !c.part.isReconnecting(): // errors of OnReconnected end nothing
		c.close(m.err, closeReason{message: true, text: m.text, drop: true})
	default:
		c.accepted = true
		c.calls.setOpen()
		c.start()
		c.calls.checkIdle() // if there were only streams
		c.part.opened()
	}
}
