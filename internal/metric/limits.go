package metric

import "sync/atomic"

// Limit is a limit that something has reached.
type Limit uint8

// The limits.
const (
	Connections Limit = iota
	ConnectionsOfUser
	ConnectionsOfAddress
	PendingOfAddress
	RequestHeaders
	EarlyBytes
	OpenPosts
	BodyRate
	MessageSize
	CallRate
	UserCallRate
	Streams
	Groups
	Names
	HubInbox
	Replay
	Answers
	limits
)

// LimitNames are the names of limits.
var LimitNames = [limits]string{
	"connections", "connections_of_user", "connections_of_address", "pending_of_address", "request_headers", "early_bytes", "open_posts", "body_rate",
	"message_size", "calls_per_second", "calls_per_second_of_user", "streams", "groups", "names_per_audience", "hub_inbox", "replay", "inbound_before_answer",
}

// Limits count how often limits were reached. Nil counts nothing.
type Limits [limits]atomic.Int64

// Reach counts.
func (l *Limits) Reach(limit Limit) {
	if l != nil {
		l[limit].Add(1)
	}
}
