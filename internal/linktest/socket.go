// Package linktest has what tests of links need: a socket in memory, and a parser of the frames that are written to it.
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

// Frame is one WebSocket frame of a server.
type Frame struct {
	Opcode  byte
	Payload []byte
}

// ParseFrames parses whole frames, and returns what is left.
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
			panic("a fragment")
		}
		b = b[head+n:]
	}
	return frames, b
}

// Records cuts a message into hub messages, and checks that it holds whole ones, and not too many.
func (f Frame) Records() ([]string, error) {
	if !bytes.HasSuffix(f.Payload, []byte{0x1e}) {
		return nil, fmt.Errorf("a message was split: %.100q", f.Payload)
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

// Socket is a link.Socket in memory. It notes what is done to it that must not be, such as two goroutines that write at once.
type Socket struct {
	mu         sync.Mutex
	BlocksOnly bool  // only Write can be had
	Room       int   // bytes that it takes until it is full; negative: any number
	fail       error // of writing
	Answers    bool  // the peer answers a close frame at once
	Taken      []byte
	owners     int // that write just now
	finished   bool
	cut        bool
	faults     []string
	look       chan struct{} // closed when a Write should look again
	Gone       chan struct{} // closed when nothing more will be read
	ended      bool          // gone is closed
	Before     func()        // runs before anything is taken
}

// At most this much may be merged into one message.
const (
	maxMessages = 64
	maxMessage  = 64 << 10
)

var errCut = errors.New("the descriptor is closed")

// NewSocket returns a socket that takes everything.
func NewSocket() *Socket { return &Socket{Room: -1, Gone: make(chan struct{})} }

// Blocking makes a socket one that can only block.
func Blocking(s *Socket) { s.BlocksOnly = true }

// Full makes a socket one that takes nothing.
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
	if s.owners++; s.owners > 1 {
		s.faults = append(s.faults, "two write at once")
	}
	defer func() { s.owners-- }()
	if s.finished {
		s.faults = append(s.faults, fmt.Sprintf("written behind the last frame: %q", b))
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
		case s.fail != nil:
			return 0, s.fail
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
		if s.look == nil {
			s.look = make(chan struct{})
		}
		look := s.look
		s.mu.Unlock()
		<-look
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
		if s.Answers {
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

// Change changes what a Write waits for.
func (s *Socket) Change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.look != nil {
		close(s.look)
		s.look = nil
	}
}

// Drain makes room for n bytes, or for all that comes if n is negative.
func (s *Socket) Drain(n int) {
	s.Change(func() {
		if n < 0 || s.Room < 0 {
			s.Room = n
		} else {
			s.Room += n
		}
	})
}

// Break lets writing fail.
func (s *Socket) Break(err error) { s.Change(func() { s.fail = err }) }

// Wire returns what has been taken.
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

// IsFinished reports whether the last frame has been written.
func (s *Socket) IsFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}

// Faults returns what was done to the socket that must not be.
func (s *Socket) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}
