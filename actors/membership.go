package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/troupe-go/troupe/internal/metric"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// ChangeMembership adds all connections of an audience to a group, or removes them, and returns when that is done. Connections that do not
// exist any more are no error. It returns a *MissingError if nodes that may have connections of the audience cannot be reached or do not answer.
func (h *Hub) ChangeMembership(ctx context.Context, of *Audience, group string, leave bool) error {
	if err := h.Check(ctx, of); err != nil {
		return err
	}
	if len(group) > MaxName {
		return fmt.Errorf("hubsys: the name of a group has %d bytes, more than %d", len(group), MaxName)
	}
	done := make(chan error, 1)
	h.change(h.resolve(of), group, leave, func(err error) { done <- err })
	missing, elsewhere := h.changeElsewhere(ctx, of, group, leave)
	if elsewhere != nil && elsewhere != ErrTooManyGroups {
		return elsewhere
	}
	select {
	case err := <-done:
		if err = cmp.Or(err, elsewhere); err == nil && len(missing) > 0 {
			err = &MissingError{missing}
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// change adds connections to a group, or removes them, and calls done when that is done and all nodes know: with ErrTooManyGroups if one of them
// could not join. It does not wait.
func (h *Hub) change(connections []*Connection, group string, leave bool, done func(error)) {
	if len(connections) == 0 {
		done(nil)
		return
	}
	m := &membershipChange{group: group, leave: leave}
	m.left.Store(int32(len(connections)))
	m.done = func() {
		h.sys.nodes.whenKnown(m.known.Load(), func() {
			if m.overLimit.Load() {
				done(ErrTooManyGroups)
			} else {
				done(nil)
			}
		})
	}
	for _, c := range connections {
		c.post(m)
	}
}

// MissingError names nodes that cannot be reached, or have not answered.
type MissingError struct{ Nodes []string }

func (e *MissingError) Error() string {
	return "hubsys: these nodes cannot be reached, or have not answered: " + strings.Join(e.Nodes, ", ")
}

// changeElsewhere is ChangeMembership for the connections that other nodes have. It returns the names of nodes that may have some and have not answered.
func (h *Hub) changeElsewhere(ctx context.Context, of *Audience, group string, leave bool) (missing []string, err error) {
	if h.sys.nodes == nil || of.Kind == Caller {
		return nil, nil
	}
	switch {
	case of.Kind != Connections || len(of.Names) != 1:
		answers, missing, err := h.gather(ctx, changeRequest(of, group, leave), acceptTime)
		if slices.ContainsFunc(answers, isOverLimit) {
			err = ErrTooManyGroups
		}
		return missing, err
	case h.Connection(of.Names[0]) == nil && !slices.Contains(of.ExceptIDs, of.Names[0]):
		q, err := h.sys.nodes.question(h.name, h.topic(Connections, of.Names[0]), changeRequest(of, group, leave))
		if err != nil {
			return nil, err
		}
		return q.waitForChange(ctx)
	}
	return nil, nil
}

func changeRequest(of *Audience, group string, leave bool) *nodev1.Request {
	return &nodev1.Request{Kind: &nodev1.Request_Change{Change: &nodev1.Change{Of: of.toNode(), Group: group, Leave: leave}}}
}

func isOverLimit(a *nodev1.Answer) bool { return a.GetKind() == nodev1.Answer_KIND_TOO_MANY_GROUPS }

// waitForChange waits for the answer to a changeRequest. It returns what changeElsewhere does.
func (q *question) waitForChange(ctx context.Context) (missing []string, err error) {
	a, err := q.wait(ctx)
	switch {
	case err != nil:
	case a == nil:
		missing = q.nodes.unreachable()
	case isUnanswered(a):
		missing = q.nodes.unanswered(a).Nodes
	case isOverLimit(a):
		err = ErrTooManyGroups
	}
	return missing, err
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
	known     atomic.Pointer[<-chan struct{}] // closed when other nodes know of the group; nil: they do
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
			m.known.Store(&known)
		}
		c.part.joined(m.group)
	}
}
