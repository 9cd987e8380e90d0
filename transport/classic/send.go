package classic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/metric"
	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/transport"
)

// value returns a parameter of the query, or else of the form.
func (in *request) value(name string) string {
	if v := in.params[strings.ToLower(name)]; v != "" {
		return v
	}
	return in.PostForm.Get(name)
}

const (
	bodyTime   = 30 * time.Second // how long the body of a request may take
	formTokens = 16 << 10         // bytes of the tokens in a form, but for that of groups
)

// readForm reads the body of a request that may have a form, which may have a message and so many bytes of tokens.
func (e *Endpoint) readForm(w http.ResponseWriter, in *request, tokens int) error {
	if in.Body == nil || in.PostForm != nil {
		return nil
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	limit := int64(3*e.MaximumMessageSize + tokens) // what is escaped has three times its size
	body, err := io.ReadAll(http.MaxBytesReader(nil, in.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fail(http.StatusRequestEntityTooLarge, "", err)
	case err != nil:
		return fail(http.StatusRequestTimeout, "", err)
	}
	_ = control.SetReadDeadline(time.Time{}) // net/http reads on, to see whether the client goes away
	in.PostForm, err = url.ParseQuery(string(body))
	if err != nil {
		return fail(http.StatusBadRequest, "", err)
	}
	return nil
}

// start has the connections of a session begin, which runs OnConnected, and answers when that has returned.
func (e *Endpoint) start(w http.ResponseWriter, in *request) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // OnConnected takes its time
	defer e.limitWriting(w)
	s, _, err := e.open(in, actors.WithConnected)
	if err != nil {
		return err
	}
	if err := e.checkMembers(in, s); err != nil {
		return err
	}
	if !s.start(in.Context().Done()) {
		return fail(http.StatusInternalServerError, "", errors.New("a hub has refused the connection"))
	}
	return e.answer(w, in, []byte(`{ "Response": "started" }`))
}

// send executes a call that comes with a request of its own, and answers with the result.
func (e *Endpoint) send(w http.ResponseWriter, in *request) error {
	if !e.beginSend(in.id) {
		e.Limits.Reach(metric.OpenPosts)
		return fail(http.StatusTooManyRequests, fmt.Sprintf("At most %d calls of a connection can be open.", mostSends), nil)
	}
	defer e.endSend(in.id)
	if err := e.readForm(w, in, formTokens); err != nil {
		return err
	}
	data := in.PostForm.Get("data")
	if data == "" {
		data = in.params["data"]
	}
	if len(data) > e.MaximumMessageSize {
		return fail(http.StatusRequestEntityTooLarge, "", errors.New("the message is longer than MaximumMessageSize"))
	}
	invocation, hub, err := e.parse([]byte(data))
	in.PostForm = nil // what is read of it has been, and the method takes its time
	if err != nil {   // no session is opened for it
		return fail(http.StatusInternalServerError, "", err)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the method takes its time
	defer e.limitWriting(w)
	s, _, err := e.open(in, actors.WithReconnected)
	if err != nil {
		return err
	}
	if err := e.checkMembers(in, s); err != nil {
		return err
	}
	wait := &waiter{answer: make(chan answer, 1)}
	call, err := s.call(in.who, &invocation, hub, wait)
	if err != nil {
		return fail(http.StatusInternalServerError, "", err)
	}
	defer s.forget(call)
	select {
	case answer, ok := <-wait.answer:
		switch {
		case ok:
			s.awaitDelivery(answer.behind, in.Context().Done())
		case e.Raw == nil: // a client that has aborted the session would report a request that fails
			answer.object = classic.AppendFailure(nil, &invocation, "The connection ended before the call returned.")
		}
		switch {
		case e.Raw == nil:
			return e.answer(w, in, answer.object)
		case ok && classic.HasFailed(answer.object):
			return fail(http.StatusInternalServerError, "", errors.New("OnReceived has failed"))
		}
		w.Header()["Content-Type"] = nil
		return nil
	case <-in.Context().Done():
		return nil
	}
}

// mostSends is how many requests with calls of one session can be open: each is in memory several times, until its call has returned.
const mostSends = 256

func (e *Endpoint) beginSend(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sends[id] >= mostSends {
		return false
	}
	e.sends[id]++
	return true
}

func (e *Endpoint) endSend(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sends[id]--; e.sends[id] == 0 {
		delete(e.sends, id)
	}
}

// call passes a call to the connection of its hub.
func (s *session) call(who transport.Identity, invocation *classic.Invocation, hub Hub, w *waiter) (number uint64, err error) {
	m, err := s.member(context.Background(), who, hub)
	if errors.Is(err, errUnauthorized) {
		if w.receiver != nil { // no connection of a hub holds back a client that takes no answers
			s.awaitRoom(true)
		}
		text := s.endpoint.acceptor.Refuse(invocation.Hub, invocation.Method)
		return s.answerItself(w, classic.AppendFailure(nil, invocation, text))
	}
	if err != nil {
		return 0, err
	}
	if number, err = s.await(w); err != nil {
		return 0, err
	}
	var room [512]byte // most calls need no allocation
	var digits [20]byte
	record := classic.AppendCall(room[:0], strconv.AppendUint(digits[:0], number, 10), invocation.Hub, invocation)
	if err := m.feed(record); err != nil {
		s.forget(number)
		return 0, err
	}
	return number, nil
}

// parse reads what a client has sent: a call, or, if there are no calls, what the method OnReceived gets.
func (e *Endpoint) parse(text []byte) (classic.Invocation, Hub, error) {
	if e.Raw != nil {
		return classic.RawInvocation(text), e.Raw, nil
	}
	invocation, err := classic.ParseInvocation(text)
	if err != nil {
		return invocation, nil, err
	}
	hub := e.acceptor.Hub(invocation.Hub)
	if hub == nil {
		return invocation, nil, fmt.Errorf("there is no hub %q", invocation.Hub)
	}
	return invocation, hub, nil
}

// abort ends a session at once.
func (e *Endpoint) abort(w http.ResponseWriter, in *request) error {
	if s := e.session(in.id); s != nil {
		s.close(nil)
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	return nil
}

// proxies answers with the script that gives a page the hubs as objects.
func (e *Endpoint) proxies(w http.ResponseWriter, in *request) error {
	w.Header().Set("Content-Type", "application/javascript; charset=UTF-8")
	if e.NoProxies {
		_, _ = w.Write([]byte("throw new Error('SignalR: JavaScript Hub proxy generation has been disabled.');"))
		return nil
	}
	path := strings.TrimRight(pathOf(in.Request), "/")
	path = path[:max(0, strings.LastIndexByte(path, '/'))]
	var script bytes.Buffer
	if err := WriteProxies(&script, path, e.acceptor.Hubs()); err != nil {
		return fail(http.StatusInternalServerError, "", err)
	}
	_, _ = w.Write(script.Bytes())
	return nil
}
