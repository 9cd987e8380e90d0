package outbox

// Policy is what happens to a limited packet when a box is at its limit, and its peer has held senders for long enough.
type Policy uint8

// The policies.
const (
	Disconnect Policy = iota // the box is sealed, and its owner told
	DropOldest               // room is made by dropping the oldest packets that have this policy
	DropNewest               // the packet is dropped
)

// Causes for which packets are dropped, as indexes of Drops.
const (
	oldestDropped = iota
	newestDropped
	replaced // by a newer one with the same key
	dropCauses
)

// Drops are how many packets a flusher's boxes have dropped: the oldest ones, the newest ones, and those that newer ones have replaced.
type Drops [dropCauses]int64

// DropNames name the elements of Drops.
var DropNames = [dropCauses]string{"oldest", "newest", "replaced"}

// WithPolicy says what happens to a limited packet at the limit. With a key that is not empty, the packet takes the place of one that has the
// same key and has not been written; it is put behind all others. It is called before the packet is pushed.
func (p *Packet) WithPolicy(policy Policy, key string) *Packet {
	p.policy, p.key = policy, key
	return p
}

// replace removes the packet whose place p takes. The lock is held, as in all that follows.
func (b *Box) replace(p *Packet) {
	if p.key == "" {
		return
	}
	if i := b.queue.find(p.key); i >= 0 {
		b.drop(i, replaced)
	}
}

// makesRoom reports whether a packet may be dropped to make room for others.
func (p *Packet) makesRoom() bool { return p.limited && p.policy == DropOldest }

// makeRoom drops packets until one more with a charge fits, which will take the place of the one with the same key. It returns false if it does
// not fit even so.
func (b *Box) makeRoom(charge int, key string) bool {
	for !b.fits(charge, key) {
		if b.queue.oldest == 0 {
			return false
		}
		b.drop(b.queue.findOldest(), oldestDropped)
	}
	return true
}

func (b *Box) fits(charge int, key string) bool {
	left := b.limited
	if i := b.queue.find(key); i >= 0 {
		left -= b.queue.packets[i].limitedCharge()
	}
	return left == 0 || left+charge <= int(b.limit)
}

// shorten drops packets of a policy until what is left is within the limit, or until there are none.
func (b *Box) shorten(policy Policy) {
	if policy == DropOldest {
		b.makeRoom(0, "")
		return
	}
	for i := len(b.queue.packets) - 1; i >= 0 && b.limited > int(b.limit); i-- {
		if i = min(i, len(b.queue.packets)-1); i < 0 {
			return
		}
		if p := b.queue.packets[i]; p != nil && p.limited && p.policy == DropNewest {
			b.drop(i, newestDropped)
		}
	}
}

// causeOf returns the cause for which a packet of a policy is dropped that does not fit.
func causeOf(policy Policy) int {
	if policy == DropOldest {
		return oldestDropped
	}
	return newestDropped
}

// drop drops a packet of the queue.
func (b *Box) drop(i, cause int) {
	p := b.queue.packets[i]
	b.queue.remove(i)
	b.uncount(p.charge(), p.limitedCharge())
	b.countDrop(cause)
}

func (b *Box) countDrop(cause int) {
	b.hasDropped = b.hasDropped || cause != replaced // which happens to fast peers as well
	b.flusher.drops[cause].Add(1)
}

// Drops returns how many packets have been dropped.
func (f *Flusher) Drops() (drops Drops) {
	for cause := range f.drops {
		drops[cause] = f.drops[cause].Load()
	}
	return drops
}
