package actors

import "context"

// WantsStream reports whether the client wants the results streamed.
func (k *Call) WantsStream() bool { return k.wantsStream }

// DuplicateID reports whether the client has given the call the id of another stream, which still runs.
func (k *Call) DuplicateID() bool { return k.duplicateID }

// OverLimit reports whether too many calls with streams of the same client were running when the call began.
func (k *Call) OverLimit() bool { return k.overLimit }

// OverRate returns the limit that the client has exceeded by calling too often, or WithinRate.
func (k *Call) OverRate() Rate { return k.overRate }

// StartStream says that the method has returned a stream, whose items follow. The client's next call may begin.
func (k *Call) StartStream() {
	k.streaming = true
	k.conn.passTurn(k, false)
}

// IsStreaming reports whether StartStream was called.
func (k *Call) IsStreaming() bool { return k.streaming }

// SendItem sends an encoded item of the stream that the call returns, when there is room in the client's outbox (docs/protocol.md, 6.5). It
// returns false if nobody wants more items: the context of the call has ended. If Fail has ended it, this item, which may have been made of what
// came before the failure, is still sent.
func (k *Call) SendItem(item []byte) bool { return k.SendItemWithin(k, item) }

// SendItemWithin is SendItem that waits no longer than ctx allows, which ends with the call.
func (k *Call) SendItemWithin(ctx context.Context, item []byte) bool {
	out := &k.conn.out
	if ctx.Err() == nil {
		if out.ReplyInRoom(item) {
			return true
		}
		out.WaitForRoom(ctx.Done())
	}
	wanted := ctx.Err() == nil
	if wanted || k.hasFailed() {
		out.Reply(item, true)
	}
	return wanted
}

// Fail ends the context of the call with an error of its own as the cause.
func (k *Call) Fail(cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.uploads != nil && k.cause == nil {
		k.uploads.failed = true
	}
	k.endContext(cause)
}

// hasFailed reports whether Fail has ended the context of the call, which has uploads.
func (k *Call) hasFailed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.uploads != nil && k.uploads.failed
}
