package actors

// Streaming says that the client wants the results streamed.
func (k *Call) Streaming() bool { return k.streaming }

// DuplicateID reports whether the client has given the call the id of another stream, which still runs.
func (k *Call) DuplicateID() bool { return k.duplicateID }

// OverLimit reports whether too many calls with streams of its client were running when the call began.
func (k *Call) OverLimit() bool { return k.overLimit }

// Flow says that the method has returned a stream, whose items follow. The client's next call may begin.
func (k *Call) Flow() {
	k.flowing = true
	k.conn.pass(k, false)
}

// Flowing reports whether Flow was called.
func (k *Call) Flowing() bool { return k.flowing }

// Item sends an item of the stream that the call returns, encoded, when there is room in the client's outbox (spec §6.5). It returns
// false when nobody wants more items: the call's context has ended.
func (k *Call) Item(item []byte) bool {
	c := k.conn
	if c.out.aboveMark() {
		c.out.waitForRoom(k.Done())
	}
	if k.Err() != nil {
		return false
	}
	c.out.reply(item, true)
	return true
}

// Fail ends the call's context with an error of its own as the cause.
func (k *Call) Fail(cause error) { k.stop(cause) }
