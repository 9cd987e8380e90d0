package classic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/transport"
)

// receiver is a request that receives the messages of a session.
type receiver struct {
	sent        uint64 // number of the last message
	initializes bool   // it has to say that the session is there

	socket  *socket  // nil: a request that waits
	answers []answer // that the socket has to write
	waiting int      // their bytes

	wake chan struct{} // of a request that waits
	over chan struct{} // closed when another one receives
}

func newReceiver(initializes bool) *receiver {
	return &receiver{initializes: initializes, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// wakeUp tells a request that waits that there may be something to send.
func (r *receiver) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// end says that another request receives. The lock of the session is held.
func (r *receiver) end() {
	if r.socket != nil {
		r.socket.replaced()
	} else {
		close(r.over)
	}
}

func (r *receiver) addAnswer(a answer) {
	r.answers = append(r.answers, a)
	r.waiting += len(a.object)
}

func (r *receiver) takeAnswer() []byte {
	object := r.answers[0].object
	r.waiting -= len(object)
	if r.answers = r.answers[1:]; len(r.answers) == 0 {
		r.answers = nil
	}
	return object
}

// receive serves a request that receives messages: one that connects, one that reconnects, or a poll.
func (e *Endpoint) receive(w http.ResponseWriter, in *request, path string) error {
	connects := strings.HasSuffix(path, "/connect")
	reconnects := !connects && (in.transport != LongPolling || strings.HasSuffix(path, "/reconnect"))
	if in.transport == WebSockets && !transport.IsUpgrade(in.Request) {
		return fail(http.StatusBadRequest, "Not a valid web socket request.", nil)
	}
	if in.transport == WebSockets && !e.Origins.Allows(in.Request) {
		return fail(http.StatusForbidden, "", errors.New("the origin is not allowed"))
	}
	if in.transport == ForeverFrame {
		if _, err := strconv.ParseUint(in.params["frameid"], 10, 32); err != nil {
			return fail(http.StatusInternalServerError, "", errors.New("The supplied frameId is in the incorrect format."))
		}
	}
	if in.transport == LongPolling {
		if err := e.readForm(w, in, formTokens+mostGroupsToken); err != nil {
			return err
		}
	}
	opening := actors.WithReconnected
	switch {
	case connects:
		opening = actors.WithConnected
	case !reconnects: // a poll: an event comes when the client reconnects
		opening = actors.WithoutEventsYet
	}
	s, _, err := e.open(in, opening)
	if err != nil {
		return err
	}
	if err := e.checkMembers(in, s); err != nil {
		return err
	}
	groups := e.groupsOf(in)
	fresh := s.isFresh()
	if !connects && (fresh || s.wasElsewhere(in.value("messageId"))) {
		s.rejoin(in.hubs, groups)
	}
	switch {
	case fresh && !connects: // it opens with its event
	case reconnects:
		for _, m := range s.allMembers() {
			m.conn.Reconnected()
		}
	case connects && in.version.Before(classic.DelayedStart):
		if !s.start(in.Context().Done()) {
			return fail(http.StatusInternalServerError, "", errors.New("a hub has refused the connection"))
		}
	}
	e.log.Debug("a client of SignalR 2 receives", "session", s.id, "transport", in.params["transport"], "path", logs.Clip(path))
	var k *socket
	r := newReceiver(connects)
	if in.transport == WebSockets {
		k = newSocket(s, in.who, connects)
		r = &k.receiver
	}
	if !s.attach(r, groups, in.value("messageId"), connects) { // before the client sees an answer
		return fail(http.StatusInternalServerError, "", errOver)
	}
	in.PostForm = nil // which may be large, and is not kept for as long as the request waits
	serves := false
	defer func() {
		if !serves {
			s.detach(r)
		}
	}()
	if k != nil {
		if serves = k.open(w, in); serves {
			go k.serve() // not on this goroutine, which holds the stack and the buffers of the HTTP server
		}
		return nil
	}
	switch in.transport {
	case LongPolling:
		return e.poll(w, in, s, r)
	case ForeverFrame:
		return e.stream(w, in, s, r, foreverFrame(in))
	default:
		return e.stream(w, in, s, r, eventStream)
	}
}

// wait waits until there may be something to send. It returns false at the end of the receiver, and idle when it is time for a keep-alive.
func (r *receiver) wait(ctx context.Context, keepAlive <-chan time.Time) (idle, ok bool) {
	select {
	case <-r.wake:
		return false, true
	case <-keepAlive:
		return true, true
	case <-r.over:
	case <-ctx.Done():
	}
	return false, false
}

// beats returns when keep-alives are due, if they are wanted, and what ends that.
func (e *Endpoint) beats(wanted bool) (beats <-chan time.Time, stop func()) {
	if !wanted || e.KeepAlive < 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(max(e.KeepAlive, time.Second))
	return ticker.C, ticker.Stop
}

// framing is how messages stand in a stream.
type framing struct {
	contentType   string
	prologue      string
	before, after string
	keepAlive     string
	escapesAngles bool
}

var eventStream = framing{contentType: "text/event-stream", prologue: "data: initialized\n\n", before: "data: ", after: "\n\n", keepAlive: "data: {}\n\n"}

func foreverFrame(in *request) framing {
	id := in.params["frameid"]
	return framing{
		contentType: "text/html; charset=UTF-8",
		prologue: "<!DOCTYPE html><html><head><title>SignalR Forever Frame Transport Stream</title>\r\n<script>\r\n" +
			"var $ = window.parent.jQuery, ff = $ ? $.signalR.transports.foreverFrame : null, c = ff ? ff.getConnection('" + id + "') : null, r = ff ? ff.receive : null;\r\n" +
			"if (ff) { ff.started(c); }\r\n</script></head><body>\r\n",
		before: "<script>r(c, ", after: ");</script>\r\n", keepAlive: "<script>r(c, {});</script>\n\n", escapesAngles: true,
	}
}

// stream sends messages in a response that does not end.
func (e *Endpoint) stream(w http.ResponseWriter, in *request, s *session, r *receiver, f framing) error {
	control := http.NewResponseController(w)
	h := w.Header()
	transport.DoNotBuffer(h)
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "no-cache, no-store")
	defer e.limitWriting(w) // of the end of the response
	write := func(parts ...[]byte) error {
		for _, part := range parts {
			if err := e.write(w, part); err != nil {
				return err
			}
		}
		err := control.Flush()
		_ = control.SetWriteDeadline(time.Time{}) // over HTTP/2 it ends a stream that waits
		return err
	}
	if err := write([]byte(f.prologue)); err != nil {
		return nil
	}
	keepAlive, stop := e.beats(true)
	defer stop()
	var frame []byte
	for {
		envelope, _, ok := s.next(r)
		var err error
		switch {
		case envelope != nil:
			frame = envelope.Append(frame[:0])
			if f.escapesAngles {
				frame = bytes.ReplaceAll(bytes.ReplaceAll(frame, []byte("<"), []byte(`\u003c`)), []byte(">"), []byte(`\u003e`))
			}
			err = write([]byte(f.before), frame, []byte(f.after))
		case ok:
			var idle bool
			if idle, ok = r.wait(in.Context(), keepAlive); idle {
				err = write([]byte(f.keepAlive))
			}
		}
		if !ok || err != nil {
			return nil
		}
	}
}

// poll answers with the first messages, or with none when ConnectionTimeout is over. While it waits it sends blanks.
func (e *Endpoint) poll(w http.ResponseWriter, in *request, s *session, r *receiver) error {
	control := http.NewResponseController(w)
	setType(w, in)
	transport.DoNotBuffer(w.Header())
	_ = control.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(in.Context(), e.ConnectionTimeout)
	defer cancel()
	keepAlive, stop := e.beats(in.callback == "")
	defer stop()
	if !r.initializes && in.callback == "" {
		_ = control.Flush()
	}
	for {
		envelope, _, ok := s.next(r)
		if envelope == nil && ok {
			var idle bool
			if idle, ok = r.wait(ctx, keepAlive); idle {
				_ = e.write(w, []byte(" "))
				_ = control.Flush()
				_ = control.SetWriteDeadline(time.Time{}) // over HTTP/2 it ends a stream that waits
			}
			if ok {
				continue
			}
		}
		if envelope == nil {
			envelope = s.final(r)
		}
		envelope.LongPoll = int(e.LongPollDelay.Milliseconds())
		if err := e.write(w, in.wrap(envelope.Append(nil))); err != nil {
			return fmt.Errorf("a poll was not answered: %w", err)
		}
		s.written(r)
		return nil
	}
}
