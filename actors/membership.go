package actors

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/troupe-go/troupe/internal/metric"
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
	if len(connections) == 0 {
		return nil
	}
	done := make(chan struct{})
	m := changeMembership(connections, group, leave, func() { close(done) })
	select {
	case <-done:
		if m.overLimit.Load() {
			return ErrTooManyGroups
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// MaxName is how many bytes the name of a group or a user may have.
const MaxName = 1024

// ErrTooManyGroups says that a connection is in as many groups as it may be, or in groups with too long names.
var ErrTooManyGroups = errors.New("hubsys: a connection is in as many groups as MaximumGroupsPerConnection and MaximumGroupNameBytes allow")

// changeMembership adds connections to a group, or removes them, and calls done when that is done. It does not wait.
func changeMembership(connections []*Connection, group string, leave bool, done func()) *membershipChange {
	m := &membershipChange{group: group, leave: leave, done: done}
	m.left.Store(int32(len(connections)))
	for _, c := range connections {
		c.post(m)
	}
	return m
}

// membershipChange asks connections to join or leave a group.
type membershipChange struct {
	group string
	leave bool
	left  atomic.Int32 // connections that have not done it
	done  func()

	overLimit atomic.Bool // some connection could not join
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
		c.hub.groups.join(m.group, c)
		c.part.joined(m.group)
	}
}
