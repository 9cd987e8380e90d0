package classic

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/transport"
)

// socket is a WebSocket that receives the messages of a session. The goroutine that has something for the client writes it, as long as the kernel takes it;
// what it does not take is written by a goroutine. An idle socket has one goroutine, which reads, and no buffers.
type socket struct {
	receiver
	session *session
	who     transport.Identity   // that has asked for it
	ws      *transport.WebSocket // set under the lock of the session when it is open
	in      *[]byte              // what has been read of a message; nil: nothing

	// Under the lock of the session:
	writing bool      // or not open yet
	pong    []byte    // that is to be written
	alive   bool      // a keep-alive is to be written
	last    time.Time // when something was written that clients take for a sign of life
	blocked time.Time // since when the kernel takes nothing; zero: it does
	ended   bool      // nothing more is written
}

// newSocket returns a socket that is not open.
func newSocket(s *session, who transport.Identity, initializes bool) *socket {
	k := &socket{session: s, who: who, writing: true}
	k.receiver = receiver{initializes: initializes, socket: k}
	return k
}

// open upgrades a request. If it returns false, the request has been answered.
func (k *socket) open(w http.ResponseWriter, in *request) bool {
	ws := transport.OpenWebSocket(w, in.Request, k.session.endpoint.log, &k.session.endpoint.refusals)
	k.session.mu.Lock()
	defer k.session.mu.Unlock()
	k.ws, k.last = ws, time.Now()
	return ws != nil
}

// serve writes what is there for the client, and reads what it sends, until its connection ends.
func (k *socket) serve() {
	k.flush()
	k.ws.ReadMessages(k)
	k.session.detach(&k.receiver)
	k.session.mu.Lock()
	free := !k.writing && !k.ended
	k.ended = true
	k.session.mu.Unlock()
	if free {
		k.finish()
	}
	k.ws.Close()
}

var messageBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// leastRead is how much room there is at least for a read.
const leastRead = 512

// Buffer is part of transport.MessageSink, as are the methods that follow.
func (k *socket) Buffer() []byte {
	if k.in == nil {
		k.in = messageBuffers.Get().(*[]byte)
	}
	*k.in = slices.Grow(*k.in, leastRead)
	return (*k.in)[len(*k.in):cap(*k.in)]
}

// Commit takes a part of a message.
func (k *socket) Commit(n int) bool {
	*k.in = (*k.in)[:len(*k.in)+n]
	if len(*k.in) > k.session.endpoint.MaximumMessageSize {
		k.ws.Cut()
		*k.in = (*k.in)[:0]
	}
	return true
}

// EndMessage executes the call that a message is. A binary one ends the connection.
func (k *socket) EndMessage(binary bool) {
	var text []byte
	if k.in != nil {
		text = *k.in
	}
	if binary {
		k.ws.Cut()
	} else if err := k.call(text); err != nil {
		k.session.endpoint.log.Debug("a call of a SignalR 2 client was not understood", "session", k.session.id, "error", logs.Error(err))
	}
	if k.in != nil {
		if cap(text) <= 64<<10 {
			*k.in = text[:0]
			messageBuffers.Put(k.in)
		}
		k.in = nil
	}
}

func (k *socket) call(text []byte) error {
	invocation, hub, err := k.session.endpoint.parse(text)
	if err == nil {
		_, err = k.session.call(k.who, &invocation, hub, &waiter{receiver: &k.receiver})
	}
	return err
}

// Pong queues the answer to a ping.
func (k *socket) Pong(frame []byte) {
	k.session.mu.Lock()
	defer k.session.unlock()
	k.pong = frame
	k.session.changed = true
}

// replaced ends the socket, because another request receives. The lock of the session is held.
func (k *socket) replaced() {
	k.cutLater()
	if !k.writing {
		k.writing = true
		go k.write()
	}
}

// cutLater ends the connection of a client that takes nothing.
func (k *socket) cutLater() {
	time.AfterFunc(k.session.endpoint.SendTimeout, func() {
		k.session.mu.Lock()
		ws := k.ws
		k.session.mu.Unlock()
		if ws != nil {
			ws.Cut()
		}
	})
}

// flush writes what there is. The socket is marked as being written.
func (k *socket) flush() {
	if k.ws.Blocks() {
		go k.write()
	} else {
		k.write()
	}
}

var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// mostFrames is how many frames are written at a time by a goroutine that is not the socket's.
const mostFrames = 64

// write writes until there is nothing more, or until the kernel takes nothing: then a goroutine goes on.
func (k *socket) write() {
	buffer := frameBuffers.Get().(*[]byte)
	defer frameBuffers.Put(buffer)
	for frames := 0; ; frames++ {
		if frames == mostFrames { // the goroutine that has begun has something else to do
			go k.write()
			return
		}
		frame, ok := k.next(buffer)
		if frame == nil {
			if !ok {
				k.finish()
			}
			return
		}
		n := 0
		if !k.ws.Blocks() {
			var err error
			if n, err = k.ws.TryWrite(frame); err != nil {
				k.fail()
				return
			}
		}
		if n < len(frame) {
			go k.writeRest(slices.Clone(frame[n:]))
			return
		}
	}
}

// writeRest waits until the kernel has taken a frame.
func (k *socket) writeRest(rest []byte) {
	k.setBlocked(time.Now())
	for len(rest) > 0 {
		n, err := k.writeSome(rest)
		if err != nil {
			k.fail()
			return
		}
		rest = rest[n:]
		k.setBlocked(time.Now())
	}
	k.setBlocked(time.Time{})
	k.write()
}

// writeSome waits until the kernel has taken some of b. It survives a panic, because the net.Conn may be of a type of the application.
func (k *socket) writeSome(b []byte) (n int, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			k.session.endpoint.log.Error("writing to a client panicked; it is disconnected", "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
			err = fmt.Errorf("hubsys: writing to the client panicked: %v", reason)
		}
	}()
	return k.ws.Write(b)
}

func (k *socket) setBlocked(since time.Time) {
	k.session.mu.Lock()
	k.blocked = since
	k.session.mu.Unlock()
}

// next returns the next frame, in buffer. If there is none, the socket is not being written any more, and ok reports whether it goes on.
func (k *socket) next(buffer *[]byte) (frame []byte, ok bool) {
	s := k.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.ended {
		k.writing = false
		return nil, true
	}
	if frame = k.pong; frame != nil {
		k.pong = nil
		return frame, true
	}
	b := (*buffer)[:wsframe.Room] // the header comes in front
	if k.alive {
		k.alive, k.last = false, time.Now()
		return wsframe.Put(append(b, "{}"...), wsframe.Text), true
	}
	envelope, answer, ok := s.nextLocked(&k.receiver)
	switch {
	case envelope != nil:
		b = envelope.Append(b)
		k.last = time.Now()
	case answer != nil: // no sign of life for the client for jQuery
		b = append(b, answer...)
	case !ok:
		k.ended = true
		return nil, false
	default:
		k.writing = false
		return nil, true
	}
	if cap(b) <= 64<<10 {
		*buffer = b
	}
	return wsframe.Put(b, wsframe.Text), true
}

// finish ends the connection politely. The client's answer ends the reader.
func (k *socket) finish() {
	time.AfterFunc(closeTime, k.ws.Cut)
	last := k.ws.LastFrame()
	if k.ws.Blocks() {
		_, _ = k.writeSome(last)
	} else {
		_, _ = k.ws.TryWrite(last)
	}
}

// closeTime is how long a client may take to answer a close frame.
const closeTime = 250 * time.Millisecond

func (k *socket) fail() {
	k.session.mu.Lock()
	k.ended, k.writing = true, false
	k.session.mu.Unlock()
	k.ws.Cut()
	k.session.detach(&k.receiver) // the reader may wait for the connection of a hub
}

// beat is called once a second: it sends keep-alives, and cuts off a client that takes nothing.
func (s *session) beat(now time.Time) {
	s.mu.Lock()
	defer s.unlock()
	if s.receiver == nil || s.receiver.socket == nil {
		return
	}
	k := s.receiver.socket
	e := s.endpoint
	if !k.blocked.IsZero() && now.Sub(k.blocked) > e.SendTimeout {
		e.heartbeat.Debug("the WebSocket of a client of SignalR 2 is cut, because it takes nothing", "session", s.id)
		k.ws.Cut()
	}
	if e.KeepAlive > 0 && now.Sub(k.last) >= e.KeepAlive-janitorPeriod/2 {
		k.alive, s.changed = true, true
	}
}
