// Package transport is the HTTP side of hubs: negotiation, connection tokens, and the transports that carry a connection's bytes.
//
// It knows nothing of hub messages. A transport reads bytes into a [Session] and is written to by whoever the session belongs to.
package transport
