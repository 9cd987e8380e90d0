package transport

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// socketPair returns both ends of a TCP connection with small buffers, and a rawConn of the near end.
func socketPair(t *testing.T) (near net.Conn, raw *rawConn, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	near, err = listener.Accept()
	require.NoError(t, err)
	far = dialed.(*net.TCPConn)
	t.Cleanup(func() { near.Close(); far.Close() })
	require.NoError(t, near.(*net.TCPConn).SetWriteBuffer(4096))
	require.NoError(t, far.SetReadBuffer(64<<10))
	require.NoError(t, far.SetDeadline(time.Now().Add(20*time.Second)))
	raw = newRawConn(near)
	require.NotNil(t, raw)
	return near, raw, far
}

func TestARawConnectionWritesWhatFits(t *testing.T) {
	_, raw, far := socketPair(t)
	message := randomBytes(1 << 20)
	sent := 0
	for {
		n, err := raw.send(message[sent:], false)
		require.NoError(t, err)
		if n == 0 {
			break // the buffer is full
		}
		sent += n
	}
	require.Less(t, sent, len(message))
	n, err := raw.send(message[sent:], false)
	require.NoError(t, err)
	require.Zero(t, n)

	// With wait it writes as soon as the other end reads.
	type result struct {
		n   int
		err error
	}
	waited := make(chan result)
	go func() {
		n, err := raw.send(message[sent:], true)
		waited <- result{n, err}
	}()
	got := make([]byte, sent)
	_, err = io.ReadFull(far, got)
	require.NoError(t, err)
	r := <-waited
	require.NoError(t, r.err)
	require.Positive(t, r.n)
	sent += r.n

	go func() {
		for sent < len(message) {
			n, err := raw.send(message[sent:], true)
			if err != nil {
				break
			}
			sent += n
		}
		close(waited)
	}()
	rest := make([]byte, len(message)-len(got))
	_, err = io.ReadFull(far, rest)
	require.NoError(t, err)
	<-waited
	require.True(t, bytes.Equal(message, append(got, rest...)), "every byte, in order")
}

func TestARawConnectionReads(t *testing.T) {
	_, raw, far := socketPair(t)
	message := randomBytes(100000)
	go func() {
		far.Write(message)
		far.CloseWrite()
	}()
	var got []byte
	for {
		b, err := raw.receive()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.NotEmpty(t, b)
		got = append(got, b...)
	}
	require.True(t, bytes.Equal(message, got))
	require.Nil(t, raw.buffer, "an idle connection has no buffer")
	_, err := raw.receive()
	require.Equal(t, io.EOF, err)
}

// Blocked reads and writes return when the connection is closed.
func TestClosingARawConnectionUnblocksIt(t *testing.T) {
	near, raw, _ := socketPair(t)
	for {
		n, err := raw.send(make([]byte, 1<<16), false)
		require.NoError(t, err)
		if n == 0 {
			break
		}
	}
	errs := make(chan error)
	go func() { _, err := raw.receive(); errs <- err }()
	go func() { _, err := raw.send([]byte("x"), true); errs <- err }()
	require.NoError(t, near.Close())
	require.ErrorIs(t, <-errs, net.ErrClosed)
	require.ErrorIs(t, <-errs, net.ErrClosed)
	_, err := raw.send([]byte("x"), false)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = raw.receive()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestARawConnectionReportsAReset(t *testing.T) {
	_, raw, far := socketPair(t)
	require.NoError(t, far.SetLinger(0))
	require.NoError(t, far.Close())
	_, err := raw.receive()
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = raw.send([]byte("x"), true)
	require.ErrorIs(t, err, syscall.EPIPE) // without SIGPIPE
}

func TestOnlyTCPConnectionsAreRaw(t *testing.T) {
	near, _, _ := socketPair(t)
	require.Nil(t, newRawConn(tls.Server(near, &tls.Config{})))
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.Nil(t, newRawConn(a))
	require.Nil(t, newRawConn(struct{ net.Conn }{near}))
}
