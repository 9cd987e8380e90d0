// Package outbox holds what waits to be sent to clients, and the goroutines that write it.
//
// Each connection has a [Box]: one FIFO of packets, from which either a [Writer] takes them and writes them to a socket, or an HTTP
// request takes them. A [Flusher] is one of a few goroutines that write for all boxes. The package knows nothing of connections: the
// owner of a box implements [Owner].
//
// The rules:
//
//   - At most one goroutine writes for a box at a time. Box.state says who may: see [Box].
//   - A writer takes at most 64 messages or 64 KB in one turn; then it is the next box's turn.
//   - Nothing blocks while it holds a lock, and only drainers block on sockets. A push never blocks; who may wait for room does so after
//     the push (see [Sending]).
//   - Packets that many boxes share are immutable, and are not copied for a socket that is full.
//   - Only time in which the peer has to take something before more can be written counts against the peer.
//
// No lock is taken while that of a box or of a flusher is held.
package outbox
