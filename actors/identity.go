package actors

import (
	"context"
	"time"
)

// Identity is who has opened a connection, or has refreshed its credentials since. It is immutable.
type Identity struct {
	UserID  string    // empty: none
	Expires time.Time // then the connection is closed; zero: never
	Value   any       // of whoever opens connections
}

// IsOlderThan reports whether the credentials expire before those of other.
func (i *Identity) IsOlderThan(other *Identity) bool {
	return !i.Expires.IsZero() && (other.Expires.IsZero() || i.Expires.Before(other.Expires))
}

// farFuture stands for everything that is later, which would overflow.
const farFuture = 100 * 365 * 24 * time.Hour

// identified gives a connection another identity of the same user.
type identified struct{ who *Identity }

func (*identified) refuse() {}

// SetIdentity replaces the identity of a connection by another one of the same user, unless the connection has become another user's meanwhile, or
// has credentials that expire later, such as refreshed ones.
func (c *Connection) SetIdentity(who *Identity) { c.post(&identified{who}) }

func (c *Connection) onIdentified(who *Identity) {
	if before := c.who.Load(); who.UserID == before.UserID && !who.IsOlderThan(before) {
		c.identify(who)
	}
}

// identify sets who the connection belongs to.
func (c *Connection) identify(who *Identity) {
	c.who.Store(who)
	seconds := uint32(0)
	if !who.Expires.IsZero() && !c.settings.IgnoreExpiration {
		at := c.hub.sys.now() + min(time.Until(who.Expires), farFuture)
		seconds = uint32(max(1, (at+time.Second-1)/time.Second))
	}
	c.expires.Store(seconds)
}

// hasExpired reports whether the credentials of the connection have expired.
func (c *Connection) hasExpired() bool {
	at := c.expires.Load()
	return at > 0 && c.hub.sys.now() >= time.Duration(at)*time.Second
}

func (c *Connection) joinUser() (known <-chan struct{}) {
	if user := c.who.Load().UserID; user != "" {
		known = c.hub.users.join(user, c)
	}
	return known
}

func (c *Connection) leaveUser() {
	if user := c.who.Load().UserID; user != "" {
		c.hub.users.leave(user, c)
	}
}

// refresh asks a connection to take new credentials.
type refresh struct {
	who  *Identity
	done chan error
}

func (m *refresh) refuse() { m.done <- ErrGone }

// Refresh gives a connection new credentials, unless they expire before those that it has. Handler.Refreshed runs for them behind the calls that
// were received before. It returns ErrGone if the connection is not open.
func (c *Connection) Refresh(ctx context.Context, who *Identity) error {
	m := &refresh{who: who, done: make(chan error, 1)}
	c.post(m)
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// onRefresh returns what is closed when other nodes send here what is for the user; nil: they do.
func (c *Connection) onRefresh(who *Identity) (known *<-chan struct{}, err error) {
	switch before := c.who.Load(); {
	case c.state != open:
		return nil, ErrGone
	case who.IsOlderThan(before):
		return nil, nil
	case who.UserID != before.UserID:
		c.leaveUser()
		c.identify(who)
		if user := c.joinUser(); user != nil {
			known = &user
		}
		c.hub.everyone.changeUser(c, before.UserID)
		for name := range c.groups {
			c.hub.groups.find(name).changeUser(c, before.UserID)
		}
	default:
		c.identify(who)
	}
	c.calls.addEvent(&Call{conn: c, event: refreshed})
	c.start()
	return known, nil
}
