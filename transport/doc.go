// Package transport is the HTTP side of hubs: negotiation, connection tokens, and the transports that carry a connection's bytes.
//
// It knows nothing of hub messages. A transport reads bytes into a [Session]. A WebSocket is written to by whoever the session belongs to;
// for event streams and polls the request fetches what is to be sent. Which transport a connection has is decided by its first GET: it
// is then entered in [Tokens], and every later request is held to it, and to its user.
package transport
