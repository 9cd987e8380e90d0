package transport

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Little lies unsent in the kernel, so that a client that takes something is seen to do so, also over TLS.
func TestLittleIsUnsent(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"TCP": func(c net.Conn) net.Conn { return c },
		"TLS": func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			conn, err := net.Dial("tcp", listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.Equal(t, name == "TCP", newRawConn(wrap(conn)) != nil)
			rc, err := conn.(*net.TCPConn).SyscallConn()
			require.NoError(t, err)
			var most int
			require.NoError(t, rc.Control(func(fd uintptr) { most, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowAt) }))
			require.NoError(t, err)
			require.Equal(t, mostUnsent, most)
		})
	}
}
