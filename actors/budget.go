package actors

// debit charges n bytes to the inbound budget. If the budget is spent, or an upload is full, it waits. One batch is always admitted when no
// more is charged than held, the piece that contains it. While a call waits for an answer of the client, which may come behind, twice the
// budget is admitted before the wait for that answer fails. As much is admitted while the outbox awaits the client, whose acknowledgement may come
// behind as well, or the reader, which has to see that its socket is lost. debit returns false if done is closed meanwhile, and if the socket is
// replaced, whose reader has to end: then it sets dropping.
func (in *input) debit(n, held, limit int, done func() <-chan struct{}, outboxAwaits func() bool) (ok bool) {
	awaited := false
	for {
		in.mu.Lock()
		if in.answers != nil && in.charged > held && in.charged+n-limit > limit {
			close(in.answers.failed)
			in.answers = nil
		}
		admitted := in.charged <= held || in.answers != nil || in.fullUploads == 0 && in.charged+n <= limit
		if admitted || awaited && in.charged+n-limit <= limit {
			in.ahead = !admitted || in.ahead && in.charged > limit
			in.charged += n
			in.mu.Unlock()
			return true
		}
		if in.replaced {
			in.charged += n // it will be credited
			in.mu.Unlock()
			in.dropping = true
			return false
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		if !awaited {
			if awaited = outboxAwaits(); awaited { // which is asked only where it matters
				continue
			}
		}
		in.waiting.Store(true)
		select {
		case <-room:
		case <-done():
			in.mu.Lock()
			in.charged += n // it will be credited
			in.mu.Unlock()
			in.waiting.Store(false)
			return false
		}
		in.waiting.Store(false)
		awaited = false
	}
}

// credit takes n bytes off the budget.
func (in *input) credit(n int) {
	in.mu.Lock()
	in.charged -= n
	in.wakeReader()
	in.mu.Unlock()
}

// wakeReader has a reader that waits check the budget again. The lock is held.
func (in *input) wakeReader() {
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
}

// setReplaced says whether another socket is to take the place of the one that is read.
func (in *input) setReplaced(replaced bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.replaced = replaced
	in.wakeReader()
}

// isAhead reports whether more than the budget is charged because the outbox awaited the client, and whether answers of the client are awaited.
func (in *input) isAhead(limit int) (ahead, answers bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ahead && in.charged > limit, in.answers != nil
}

// setUploadFull counts an upload that the reader has to wait for, or that it need not wait for any more.
func (in *input) setUploadFull(full bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if full {
		in.fullUploads++
		return
	}
	if in.fullUploads--; in.fullUploads == 0 {
		in.wakeReader()
	}
}

// pendingAnswers exists while calls wait for answers of the client, which may come behind messages for which the reader would wait.
type pendingAnswers struct {
	count  int
	failed chan struct{} // closed when too much has been received before them
}

func (in *input) awaitAnswer() *pendingAnswers {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.answers == nil {
		in.answers = &pendingAnswers{failed: make(chan struct{})}
		in.wakeReader()
	}
	in.answers.count++
	return in.answers
}

func (in *input) answerDone(a *pendingAnswers) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if a.count--; a.count == 0 && in.answers == a {
		in.answers = nil
	}
}
