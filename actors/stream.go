package actors

// Streaming says that the client wants the results streamed.
func (k *Call) Streaming() bool { return k.streaming }

// Twin says that the client has given the call the id of another stream, which still runs.
func (k *Call) Twin() bool { return k.twin }

// Crowded says that too many calls with streams of its client were running when the call started.
func (k *Call) Crowded() bool { return k.crowded }

// Flow says that the method has returned a stream, whose items follow.
func (k *Call) Flow() { k.flowing = true }

// Flowing tells whether Flow was called.
func (k *Call) Flowing() bool { return k.flowing }

// Item sends an item of the stream that the call returns, encoded, when there is room in the client's outbox (spec §6.5). It returns
// false when nobody wants more items: the call's context has ended.
func (k *Call) Item(item []byte) bool {
	c := k.conn
	if c.aboveMark() {
		c.waitForRoom(k.Done(), true)
	}
	if k.Err() != nil {
		return false
	}
	c.reply(item, true)
	return true
}

// Fail ends the call's context with an error of its own as the cause.
func (k *Call) Fail(cause error) { k.stop(cause) }
