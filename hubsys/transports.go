package hubsys

import "github.com/troupe-go/troupe/transport"

// Transports is a set of transports.
type Transports uint8

// The transports.
const (
	WebSockets       = Transports(transport.WebSockets)
	ServerSentEvents = Transports(transport.ServerSentEvents)
	LongPolling      = Transports(transport.LongPolling)
)

// String returns the names of the transports in the protocol, such as "WebSockets, LongPolling".
func (t Transports) String() string { return transport.Transports(t).String() }
