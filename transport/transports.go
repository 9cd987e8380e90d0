package transport

import "strings"

// Transports is a set of transports.
type Transports uint8

// The transports, in the order in which clients try them.
const (
	WebSockets Transports = 1 << iota
	ServerSentEvents
	LongPolling

	AllTransports = WebSockets | ServerSentEvents | LongPolling
)

var transportNames = [...]string{"WebSockets", "ServerSentEvents", "LongPolling"}

// String returns the protocol's own names.
func (t Transports) String() string {
	var names []string
	for i, name := range transportNames {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// offers are the transports of the set as a negotiation lists them.
func (t Transports) offers() []offer {
	var list []offer
	for i, name := range transportNames {
		one := Transports(1 << i)
		switch {
		case t&one == 0:
		case one == ServerSentEvents:
			list = append(list, offer{name, []string{"Text"}})
		default:
			list = append(list, offer{name, []string{"Text", "Binary"}})
		}
	}
	return list
}
