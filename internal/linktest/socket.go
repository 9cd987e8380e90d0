// Package linktest has in-memory transports for tests, and a parser of the frames that are written to a socket.
package linktest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// Frame is a WebSocket frame that a server has sent.
type Frame struct {
	Opcode  byte
	Payload []byte
}

// ParseFrames parses complete frames, and returns the remaining bytes.
func ParseFrames(b []byte) (frames []Frame, rest []byte) {
	for len(b) >= 2 {
		n, head := int(b[1]), 2
		switch {
		case n == 126 && len(b) >= 4:
			n, head = int(binary.BigEndian.Uint16(b[2:])), 4
		case n == 127 && len(b) >= 10:
			n, head = int(binary.BigEndian.Uint64(b[2:])), 10
		case n >= 126:
			return frames, b
		}
		if len(b) < head+n {
			break
		}
		frames = append(frames, Frame{b[0] & 0x0f, b[head : head+n]})
		if b[0]&0xf0 != 0x80 {
			panic("fragmented message")
		}
		b = b[head+n:]
	}
	return frames, b
}

// Records splits a message into hub messages. It returns an error if they are incomplete, or more than may be merged into one message.
func (f Frame) Records() ([]string, error) {
	if !bytes.HasSuffix(f.Payload, []byte{0x1e}) {
		return nil, fmt.Errorf("incomplete hub message: %.100q", f.Payload)
	}
	parts := strings.Split(string(f.Payload[:len(f.Payload)-1]), "\x1e")
	if len(parts) > maxMessages {
		return parts, fmt.Errorf("%d hub messages in one message", len(parts))
	}
	if len(parts) > 1 && len(f.Payload) > maxMessage {
		return parts, fmt.Errorf("%d bytes in one message", len(f.Payload))
	}
	return parts, nil
}

// Socket is a link.Socket in memory. It records invalid uses, such as concurrent writes.
type Socket struct {
	mu         sync.Mutex
	BlocksOnly bool  // only Write can be used
	Room       int   // bytes that it accepts until it is full; negative: unlimited
	writeErr   error // returned by writes
	Answers    bool  // the peer answers a close frame immediately
	Taken      []byte
	writers    int // writes in progress
	finished   bool
	cut        bool
	faults     []string
	retry      chan struct{} // closed when a blocked Write should try again
	Gone       chan struct{} // closed at the end of the input
	ended      bool          // Gone is closed
	Before     func()        // called before each write
}

// Limits of what may be merged into one message.
const (
	maxMessages = 64
	maxMessage  = 64 << 10
)

var errCut = errors.New("the descriptor is closed")

// NewSocket returns a socket that accepts everything.
func NewSocket() *Socket { return &Socket{Room: -1, Gone: make(chan struct{})} }

// Blocking makes a socket support only blocking writes.
func Blocking(s *Socket) { s.BlocksOnly = true }

// Full makes a socket accept nothing.
func Full(s *Socket) { s.Room = 0 }

// Blocks is part of link.Socket.
func (s *Socket) Blocks() bool { return s.BlocksOnly }

// TryWrite is part of link.Socket.
func (s *Socket) TryWrite(b []byte) (int, error) {
	if s.BlocksOnly {
		panic("TryWrite of a socket that blocks")
	}
	return s.take(b, false)
}

// Write is part of link.Socket.
func (s *Socket) Write(b []byte) (int, error) { return s.take(b, true) }

func (s *Socket) take(b []byte, wait bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers++; s.writers > 1 {
		s.faults = append(s.faults, "concurrent writes")
	}
	defer func() { s.writers-- }()
	if s.finished {
		s.faults = append(s.faults, fmt.Sprintf("write after the last frame: %q", b))
	}
	if s.Before != nil {
		before := s.Before
		s.mu.Unlock()
		before()
		s.mu.Lock()
	}
	for {
		switch {
		case s.cut:
			return 0, errCut
		case s.writeErr != nil:
			return 0, s.writeErr
		}
		n := len(b)
		if s.Room >= 0 {
			n = min(n, s.Room)
			s.Room -= n
		}
		if n > 0 || !wait {
			s.Taken = append(s.Taken, b[:n]...)
			return n, nil
		}
		if s.retry == nil {
			s.retry = make(chan struct{})
		}
		retry := s.retry
		s.mu.Unlock()
		<-retry
		s.mu.Lock()
	}
}

// LastFrame is part of link.Socket.
func (s *Socket) LastFrame() []byte { return wsframe.CloseFrame(1000) }

// Finished is part of link.Socket.
func (s *Socket) Finished() {
	s.Change(func() {
		if s.finished {
			s.faults = append(s.faults, "finished twice")
		}
		s.finished = true
		if s.Answers && s.writeErr == nil {
			s.endReading()
		}
	})
}

// Cut is part of link.Socket.
func (s *Socket) Cut() {
	s.Change(func() {
		s.cut = true
		s.endReading()
	})
}

func (s *Socket) endReading() {
	if !s.ended {
		s.ended = true
		close(s.Gone)
	}
}

// Change runs f, which may change the state of the socket, and lets blocked writes try again.
func (s *Socket) Change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.retry != nil {
		close(s.retry)
		s.retry = nil
	}
}

// Drain lets the socket accept n more bytes, or an unlimited number if n is negative.
func (s *Socket) Drain(n int) {
	s.Change(func() {
		if n < 0 || s.Room < 0 {
			s.Room = n
		} else {
			s.Room += n
		}
	})
}

// Break lets writes fail with err.
func (s *Socket) Break(err error) { s.Change(func() { s.writeErr = err }) }

// Wire returns the bytes that have been written.
func (s *Socket) Wire() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.Taken)
}

// IsCut reports whether the socket was cut.
func (s *Socket) IsCut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// IsFinished reports whether nothing more is written.
func (s *Socket) IsFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}

// Faults returns descriptions of invalid uses of the socket.
func (s *Socket) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}
