// Package transport is the HTTP side of hubs: negotiation, connection tokens, and the transports that carry a connection's bytes.
//
// It knows nothing of hub messages. A transport reads bytes into a link.Session. The owner of the session writes to a WebSocket; for event
// streams and polls, the requests fetch what is to be sent. The first GET decides which transport a connection has: it is then noted in
// [Tokens], and every later request must use the same transport and come from the same user.
package transport
