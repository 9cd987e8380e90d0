//go:build !linux

package transport

import "net"

// rawConn exists on Linux only. Elsewhere, all connections are written by goroutines that may block.
type rawConn struct{}

func newRawConn(net.Conn) *rawConn { return nil }

func (*rawConn) receive() ([]byte, error) { panic("unreachable") }

func (*rawConn) send([]byte, bool) (int, error) { panic("unreachable") }
