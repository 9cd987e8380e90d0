package actors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// frame is one WebSocket frame of a server.
type frame struct {
	opcode  byte
	payload []byte
}

func parseFrames(b []byte) (frames []frame, rest []byte) {
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
		frames = append(frames, frame{b[0] & 0x0f, b[head : head+n]})
		if b[0]&0xf0 != 0x80 {
			panic("a fragment")
		}
		b = b[head+n:]
	}
	return frames, b
}

// records cuts a message into hub messages, and checks that it holds whole ones, and not too many.
func (f frame) records() ([]string, error) {
	if !bytes.HasSuffix(f.payload, []byte{0x1e}) {
		return nil, fmt.Errorf("a message was split: %.100q", f.payload)
	}
	parts := strings.Split(string(f.payload[:len(f.payload)-1]), "\x1e")
	if len(parts) > maxMerged {
		return parts, fmt.Errorf("%d hub messages in one message", len(parts))
	}
	if len(parts) > 1 && len(f.payload) > maxMergedBytes {
		return parts, fmt.Errorf("%d bytes in one message", len(f.payload))
	}
	return parts, nil
}

// socket is a Socket in memory.
type socket struct {
	mu       sync.Mutex
	blocks   bool  // only Write can be had
	room     int   // bytes that it takes until it is full; negative: any number
	fail     error // of writing
	answers  bool  // the peer answers a close frame at once
	taken    []byte
	owners   int // that write just now
	finished bool
	cut      bool
	faults   []string
	look     chan struct{} // closed when a Write should look again
	gone     chan struct{} // closed when nothing more will be read
	ended    bool          // gone is closed
	before   func()        // runs before anything is taken
}

var errCut = errors.New("the descriptor is closed")

func blocking(s *socket) { s.blocks = true }
func full(s *socket)     { s.room = 0 }

func (s *socket) Blocks() bool { return s.blocks }

func (s *socket) TryWrite(b []byte) (int, error) {
	if s.blocks {
		panic("TryWrite of a socket that blocks")
	}
	return s.take(b, false)
}

func (s *socket) Write(b []byte) (int, error) { return s.take(b, true) }

func (s *socket) take(b []byte, wait bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owners++; s.owners > 1 {
		s.faults = append(s.faults, "two write at once")
	}
	defer func() { s.owners-- }()
	if s.finished {
		s.faults = append(s.faults, fmt.Sprintf("written behind the last frame: %q", b))
	}
	if s.before != nil {
		before := s.before
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
		if s.room >= 0 {
			n = min(n, s.room)
			s.room -= n
		}
		if n > 0 || !wait {
			s.taken = append(s.taken, b[:n]...)
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

func (s *socket) LastFrame() []byte { return wsframe.CloseFrame(1000) }

func (s *socket) Finished() {
	s.change(func() {
		if s.finished {
			s.faults = append(s.faults, "finished twice")
		}
		s.finished = true
		if s.answers {
			s.endReading()
		}
	})
}

func (s *socket) Cut() {
	s.change(func() {
		s.cut = true
		s.endReading()
	})
}

func (s *socket) endReading() {
	if !s.ended {
		s.ended = true
		close(s.gone)
	}
}

// change changes what a Write waits for.
func (s *socket) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.look != nil {
		close(s.look)
		s.look = nil
	}
}

// drain makes room for n bytes, or for all that comes if n is negative.
func (s *socket) drain(n int) {
	s.change(func() {
		if n < 0 || s.room < 0 {
			s.room = n
		} else {
			s.room += n
		}
	})
}

// breakDown lets writing fail.
func (s *socket) breakDown(err error) { s.change(func() { s.fail = err }) }

func (s *socket) wire() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.taken)
}

func (s *socket) isCut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

func (s *socket) isFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}

func (s *socket) wrong() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}
