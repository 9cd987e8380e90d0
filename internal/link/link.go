// Package link is the seam between the transports, which carry the bytes of connections, and the runtime, which turns them into hub
// messages. It holds what each side calls on the other: a method that changes on one side does not compile on the other.
//
// A transport is either a [Socket], which the runtime writes to, or a [Fetcher], whose HTTP requests fetch what is to be sent.
package link

import "context"

// Session is a connection, as the transport that carries it sees it. Its methods are called by one goroutine at a time, except for Done.
type Session interface {
	// Buffer returns memory to read into, at least 512 bytes.
	Buffer() []byte
	// Commit says that n bytes have been read into Buffer. It may wait until the connection has handled what came before, which slows the
	// client down. It returns false if the connection has ended, or is about to: then what was committed may not be handled.
	Commit(n int) bool
	// CommitLast is Commit for the end of a request that is to be answered soon: what it brings is not handled on the caller's goroutine.
	CommitLast(n int) bool
	// Partial reports whether half a message has been read.
	Partial() bool
	// End says that nothing more will be read, and that nothing more can be sent by a Fetcher. A non-nil error says what was wrong with
	// what the client has sent.
	End(err error)
	// Done is closed when the connection begins to close.
	Done() <-chan struct{}
}

// SocketSession is the session of a [Socket].
type SocketSession interface {
	Session
	// Pong queues a frame that answers a ping of the WebSocket layer, and keeps it. A newer one replaces one that has not been written.
	Pong(frame []byte)

	// Replaced says that the socket was cut because another one is to take its place. A reader that waits in Commit goes on then, and finds the
	// end. What there was no room for is dropped: the client has not been told that it was received, and sends it again.
	Replaced()
	// Lost says that the socket has ended without a close frame. If it returns true, the connection goes on, and waits for Resume until Done is
	// closed. Otherwise End has to follow, and nothing more is written to the socket.
	Lost() bool
	// CanResume reports whether the connection can go on over another socket.
	CanResume() bool
	// Resume has the connection go on over another socket, after Lost has returned true for the former one. It returns false if it has begun to
	// close.
	Resume(socket Socket) bool
}

// FetchSession is the session of a [Fetcher].
type FetchSession interface {
	Session
	// Take waits for output. It returns io.EOF when the last output has been delivered, and the cause of ctx if that ends first. Only one
	// request may be between Take and Output.Done.
	Take(ctx context.Context) (Output, error)
	// Leave says that the client wants to end the connection, and what was wrong with what it has sent, if anything.
	Leave(err error)
}

// Output is what a request has taken, and delivers to the client.
type Output interface {
	// Messages are whole hub messages. They must not be changed, and not be used after Done.
	Messages() [][]byte
	// Advance says that n more bytes have been delivered, so that a slow client is seen to move.
	Advance(n int)
	// Done ends the delivery. Unless all has been delivered, all of it is pending again.
	Done(delivered bool)
}

// Observer is told what becomes of a connection that is part of a session of SignalR 2. Its methods are called by the connection's actor, and
// must not block.
type Observer interface {
	// Opened says that OnConnected or OnReconnected has succeeded.
	Opened()
	// Joined and Left say that the connection has joined or left a group.
	Joined(group string)
	Left(group string)
}

// Transport carries a connection.
type Transport interface {
	// Cut ends the transport at once; reading and writing then fail. It does not block, and can be called by any goroutine.
	Cut()
}

// Socket is a transport that is written to. Its methods are called by one goroutine at a time, except for Cut.
type Socket interface {
	Transport
	// Blocks reports whether only Write can be used (TLS, or a net.Conn of the application's).
	Blocks() bool
	// TryWrite passes to the kernel as much of b as it takes without blocking. If that is less than all, the socket is full.
	TryWrite(b []byte) (int, error)
	// Write blocks until the kernel has taken some of b.
	Write(b []byte) (int, error)
	// LastFrame is what ends the transport politely, behind all other output. It may be empty.
	LastFrame() []byte
	// Finished is called when nothing more will be written: the last frame has been, or a write has failed. The transport then closes, and may
	// wait for the peer to do so first.
	Finished()
}

// Fetcher is a transport whose requests fetch what is sent to the client: an event stream, or polls.
type Fetcher interface {
	Transport
	// Polls reports whether one request follows the other. Between two polls the client is away, gets no pings and sends none. A transport
	// that does not poll carries text only.
	Polls() bool
}
