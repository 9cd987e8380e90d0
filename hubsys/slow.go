package hubsys

import (
	"fmt"

	"github.com/troupe-go/troupe/actors/outbox"
)

// SlowPolicy is what happens to a client that is slower than the others when its outbox is at its limit: see [HubOptions].OutboxLimit.
type SlowPolicy uint8

const (
	// DisconnectSlow disconnects the client.
	DisconnectSlow SlowPolicy = SlowPolicy(outbox.Disconnect)
	// DropOldest drops messages that wait for the client, the oldest ones first, to make room for new ones.
	DropOldest SlowPolicy = SlowPolicy(outbox.DropOldest)
	// DropNewest drops the new messages.
	DropNewest SlowPolicy = SlowPolicy(outbox.DropNewest)
)

func (p SlowPolicy) String() string {
	switch p {
	case DisconnectSlow:
		return "DisconnectSlow"
	case DropOldest:
		return "DropOldest"
	case DropNewest:
		return "DropNewest"
	}
	return fmt.Sprintf("SlowPolicy(%d)", uint8(p))
}

// IfSlow returns the same audience for messages that need not reach slow clients: Send only queues, as for NoWait, and the policy takes the
// place of that of the hub. What was sent with DropOldest makes room for all other messages as well; what was sent without it is not dropped.
func (a Audience) IfSlow(policy SlowPolicy) Audience {
	a.to.Policy, a.to.NoWait = outbox.Policy(policy), true
	return a
}

// Latest returns the same audience for messages of which only the newest one counts, such as prices: Send only queues, as for NoWait, and a message
// takes the place of one of the same method and key that a receiver has not been sent yet. It is put behind all others.
func (a Audience) Latest(key string) Audience {
	a.to.Key, a.to.NoWait = latestKey(key), true
	return a
}

// IfSlow is described at [Audience].
func (c Client) IfSlow(policy SlowPolicy) Client {
	c.to.Policy, c.to.NoWait = outbox.Policy(policy), true
	return c
}

// Latest is described at [Audience].
func (c Client) Latest(key string) Client {
	c.to.Key, c.to.NoWait = latestKey(key), true
	return c
}

// latestKey tells an empty key from none.
func latestKey(key string) string { return "=" + key }
