package hubsys

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/metric"
	"github.com/troupe-go/troupe/transport"
)

// noAddress stands for the address of what comes from none, and is no address that a request can have.
const noAddress = "\x00"

// connectionLimits counts connections, so that nobody can have too many.
type connectionLimits struct {
	most, perUser, perAddress int

	mu        sync.Mutex
	all       int
	byUser    map[string]int
	byAddress map[string]int
}

func newConnectionLimits(most, perUser, perAddress int) *connectionLimits {
	return &connectionLimits{most: most, perUser: perUser, perAddress: perAddress, byUser: map[string]int{}, byAddress: map[string]int{}}
}

// reserve counts a connection that is about to be opened, or returns a *transport.LimitError.
func (l *connectionLimits) reserve(userID, address string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	over := func(n, most int) bool { return most != Unlimited && n >= most }
	switch {
	case over(l.all, l.most):
		return &transport.LimitError{Limit: metric.Connections, Status: http.StatusServiceUnavailable, Text: fmt.Sprintf("The server can have at most %d connections.", l.most)}
	case userID != "" && over(l.byUser[userID], l.perUser):
		return &transport.LimitError{Limit: metric.ConnectionsOfUser, Status: http.StatusTooManyRequests, Text: fmt.Sprintf("A user can have at most %d connections.", l.perUser)}
	case address != noAddress && over(l.byAddress[address], l.perAddress):
		return &transport.LimitError{Limit: metric.ConnectionsOfAddress, Status: http.StatusTooManyRequests, Text: fmt.Sprintf("At most %d connections can come from one address.", l.perAddress)}
	}
	l.all++
	if userID != "" {
		l.byUser[userID]++
	}
	l.byAddress[address]++
	return nil
}

// changeUser counts a connection for the user who has taken it over.
func (l *connectionLimits) changeUser(c *actors.Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := sessionNow(c) // here, so that the last one of several refreshes counts
	first := now.origin()
	if first.ended {
		return
	}
	decrement(l.byUser, first.counted)
	if first.counted = now.principal.UserID; first.counted != "" {
		l.byUser[first.counted]++
	}
}

// end counts a connection, by its first session, that has ended.
func (l *connectionLimits) end(first *session, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first.ended = true
	l.forget(first.counted, address)
}

// release counts a connection that was not opened.
func (l *connectionLimits) release(userID, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(userID, address)
}

func (l *connectionLimits) forget(userID, address string) {
	l.all--
	decrement(l.byUser, userID)
	decrement(l.byAddress, address)
}

func decrement(counts map[string]int, key string) {
	if n := counts[key]; n > 1 {
		counts[key] = n - 1
	} else {
		delete(counts, key)
	}
}
