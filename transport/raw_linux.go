package transport

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"unsafe"
)

// rawConn reads and writes a socket through syscall.RawConn, which holds the descriptor, so that Close and a reuse of its number are safe. It can
// write without blocking, and has a reading buffer only while there are bytes.
type rawConn struct {
	rc syscall.RawConn

	// reading, by one goroutine
	buffer  *readBuffer
	read    int // bytes in buffer
	readErr error
	onRead  func(fd uintptr) bool

	// writing, by one owner at a time
	out     []byte
	n       int
	err     error
	wait    bool
	onWrite func(fd uintptr) bool
}

const (
	tcpNotSentLowAt = 25 // which package syscall does not have
	mostUnsent      = 128 << 10
)

// newRawConn returns nil if the connection is no bare socket. A type that wraps a socket, and so promotes its SyscallConn, may change the
// bytes, and is not treated as one. Neither is TLS, but what the kernel keeps below it is limited as well.
func newRawConn(conn net.Conn) *rawConn {
	var rc syscall.RawConn
	var err error
	socket := conn
	if c, ok := conn.(*tls.Conn); ok {
		socket = c.NetConn()
	}
	switch c := socket.(type) {
	case *net.TCPConn:
		rc, err = c.SyscallConn()
	case *net.UnixConn:
		rc, err = c.SyscallConn()
	}
	if err != nil || rc == nil {
		return nil
	}
	// Without this, megabytes can lie in the kernel's send buffer, which is reported as writable again only when a third of it is free: a client
	// that takes something would look stalled.
	_ = rc.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowAt, mostUnsent) })
	if socket != conn {
		return nil
	}
	c := &rawConn{rc: rc}
	c.onRead, c.onWrite = c.tryRead, c.trySend
	return c
}

// receive is part of source. While it waits there is no buffer.
func (c *rawConn) receive() ([]byte, error) {
	if b := c.buffer; b != nil {
		c.buffer = nil
		readBuffers.Put(b)
	}
	c.readErr = nil
	if err := c.rc.Read(c.onRead); err != nil {
		return nil, err
	}
	if c.readErr != nil {
		return nil, c.readErr
	}
	return c.buffer[:c.read], nil
}

// tryRead returns false if there is nothing to read yet.
func (c *rawConn) tryRead(fd uintptr) bool {
	b := readBuffers.Get().(*readBuffer)
	var n uintptr
	errno := syscall.EINTR
	for errno == syscall.EINTR {
		n, _, errno = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(b)), uintptr(len(b)))
	}
	if errno == 0 && n > 0 {
		c.buffer, c.read = b, int(n)
		return true
	}
	readBuffers.Put(b)
	switch errno {
	case syscall.EAGAIN:
		return false
	case 0:
		c.readErr = io.EOF
	default:
		c.readErr = errno
	}
	return true
}

// send makes one system call. It returns 0 and no error if the socket is full, unless wait is set: then it waits until some bytes are taken.
func (c *rawConn) send(b []byte, wait bool) (int, error) {
	c.out, c.n, c.err, c.wait = b, 0, nil, wait
	err := c.rc.Write(c.onWrite)
	c.out = nil
	if err != nil {
		return 0, err
	}
	return c.n, c.err
}

func (c *rawConn) trySend(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.out))), uintptr(len(c.out)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			c.n = int(n)
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return !c.wait
		default:
			c.err = errno
		}
		return true
	}
}
