package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/troupe-go/troupe/internal/metric"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// ChangeMembership adds all connections of an audience to a group, or removes them, and returns when that is done. Connections that do not
// exist any more are no error.
func (h *Hub) ChangeMembership(ctx context.Context, of *Audience, group string, leave bool) error {
	if err := h.Check(ctx, of); err != nil {
		return err
	}
	if len(group) > MaxName {
		return fmt.Errorf("hubsys: the name of a group has %d bytes, more than %d", len(group), MaxName)
	}
	connections := h.resolve(of)
	done := make(chan struct{})
	m := &membershipChange{group: group, leave: leave, done: func() { close(done) }}
	if len(connections) > 0 {
		m.ask(connections)
	}
	overLimit, err := h.changeElsewhere(ctx, of, group, leave)
	if err != nil {
		return err
	}
	var known <-chan struct{}
	if len(connections) > 0 {
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		overLimit, known = overLimit || m.overLimit.Load(), m.known()
	}
	if known != nil {
		select {
		case <-known:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if overLimit {
		return ErrTooManyGroups
	}
	return nil
}

// changeElsewhere is ChangeMembership for the connections that other nodes have.
func (h *Hub) changeElsewhere(ctx context.Context, of *Audience, group string, leave bool) (overLimit bool, err error) {
	if h.sys.nodes == nil || of.Kind == Caller {
		return false, nil
	}
	r := &nodev1.Request{Kind: &nodev1.Request_Change{Change: &nodev1.Change{Of: of.toNode(), Group: group, Leave: leave}}}
	if of.Kind != Connections || len(of.Names) != 1 {
		answers, _, err := h.gather(ctx, r, 0)
		for _, a := range answers {
			overLimit = overLimit || a.GetKind() == nodev1.Answer_KIND_TOO_MANY_GROUPS
		}
		return overLimit, err
	}
	if h.Connection(of.Names[0]) != nil || slices.Contains(of.ExceptIDs, of.Names[0]) {
		return false, nil
	}
	a, err := h.askOwner(ctx, of.Names[0], r)
	return a.GetKind() == nodev1.Answer_KIND_TOO_MANY_GROUPS, err
}

// MaxName is how many bytes the name of a group or a user may have.
const MaxName = 1024

// ErrTooManyGroups says that a connection is in as many groups as it may be, or in groups with too long names.
var ErrTooManyGroups = errors.New("hubsys: a connection is in as many groups as MaximumGroupsPerConnection and MaximumGroupNameBytes allow")

// membershipChange asks connections to join or leave a group, and calls done when they have.
type membershipChange struct {
	group string
	leave bool
	left  atomic.Int32 // connections that have not done it
	done  func()

	overLimit atomic.Bool                     // some connection could not join
	unknown   atomic.Pointer[<-chan struct{}] // closed when other nodes know of the group; nil: they do
}

// ask asks at least one connection. It does not wait.
func (m *membershipChange) ask(connections []*Connection) {
	m.left.Store(int32(len(connections)))
	for _, c := range connections {
		c.post(m)
	}
}

// known returns what is closed when other nodes know of the group, or nil if they do.
func (m *membershipChange) known() <-chan struct{} {
	if known := m.unknown.Load(); known != nil {
		return *known
	}
	return nil
}

func (m *membershipChange) refuse() { m.finish() }

// finish is called once by each connection.
func (m *membershipChange) finish() {
	if m.left.Add(-1) == 0 {
		m.done()
	}
}

func (c *Connection) onMembership(m *membershipChange) {
	defer m.finish()
	if m.leave {
		if _, ok := c.groups[m.group]; ok {
			delete(c.groups, m.group)
			c.groupNames -= int32(len(m.group))
			c.hub.groups.leave(m.group, c)
			c.part.left(m.group)
		}
		return
	}
	if c.state >= closing {
		return
	}
	if _, ok := c.groups[m.group]; !ok {
		if len(c.groups) >= c.settings.MaxGroups || int(c.groupNames)+len(m.group) > c.settings.MaxGroupNames {
			m.overLimit.Store(true)
			c.hub.sys.counts.limits.Reach(metric.Groups)
			return
		}
		if c.groups == nil {
			c.groups = map[string]struct{}{}
		}
		c.groups[m.group] = struct{}{}
		c.groupNames += int32(len(m.group))
		if known := c.hub.groups.join(m.group, c); known != nil {
			m.unknown.Store(&known)
		}
		c.part.joined(m.group)
	}
}
