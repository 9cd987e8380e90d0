package transport

import (
	"io"
	"net"
	"sync"
)

// source is where the bytes of a WebSocket come from.
type source interface {
	// receive waits for bytes, at least one. They are valid until the next call.
	receive() ([]byte, error)
}

type readBuffer [4096]byte

var readBuffers = sync.Pool{New: func() any { return new(readBuffer) }}

// blockingSource reads a connection that can only block, and so needs a buffer while it is idle: a small one. When it has been filled, more is
// probably there, and the next read gets a large one.
type blockingSource struct {
	conn  net.Conn
	small [512]byte
	large *readBuffer // nil: the small one is used
	n     int         // bytes of the last read
}

const mostEmptyReads = 100

func (s *blockingSource) receive() ([]byte, error) {
	switch {
	case s.large == nil && s.n == len(s.small):
		s.large = readBuffers.Get().(*readBuffer)
	case s.large != nil && s.n < len(s.large):
		readBuffers.Put(s.large)
		s.large = nil
	}
	buffer := s.small[:]
	if s.large != nil {
		buffer = s.large[:]
	}
	for range mostEmptyReads {
		n, err := s.conn.Read(buffer)
		if n > 0 { // an error would come again
			s.n = n
			return buffer[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, io.ErrNoProgress
}
