package chaos

import (
	"fmt"
	"hash/maphash"
	"slices"
)

// view is what one client has received in one session from those who send to groups and to everyone, and what of it was due. It is used under the
// lock of the session.
//
// Messages are numbered by their sender: in all, and within each series, which is a group or everyone. Bounds come from the server, by
// the numbers of the announcers: a message that an announcer begins to send when the client is a member has to arrive, and what it has sent before a
// call of the client ends arrives before the answer of that call, because both wait in one queue.
type view struct {
	last  map[string]int64 // number in all of the last message of each sender
	in    map[int]*membership
	notes *[checks]tally
}

// membership is the time between the call that joins a group and the answer of the one that leaves it.
type membership struct {
	joined  bool // the answer of the call that joins has come
	leaving bool
	from    [announcers]int64 // from there on everything is due; set when joined is
	first   [announcers]int64 // numbers of the first message received; 0: there was none
	next    [announcers]int64
	told    map[string]int64 // number of the last message of each client that sends to the group
}

// note is a message of a sender.
type note struct {
	Sender    string `json:"s"`
	Announcer int    `json:"a"` // -1: the sender is none
	Total     int64  `json:"t"`
	Series    int    `json:"g"`
	Number    int64  `json:"n"`
	Pad       string `json:"p"`
}

// Series besides groups.
const (
	everyone = 0
	flooding = -1 // to a user
)

func newView(notes *[checks]tally) *view {
	v := &view{last: map[string]int64{}, in: map[int]*membership{}, notes: notes}
	v.join(everyone)
	return v
}

func (v *view) join(series int) { v.in[series] = &membership{told: map[string]int64{}} }

// groups lists the groups that the client is in, not counting those that it is about to join or leave.
func (v *view) groups(alsoLeaving bool) (list []int) {
	for series, m := range v.in {
		if series != everyone && m.joined && (alsoLeaving || !m.leaving) {
			list = append(list, series)
		}
	}
	slices.Sort(list)
	return list
}

// receive checks a message.
func (v *view) receive(n *note) error {
	v.notes[checkOrder].add()
	last, known := v.last[n.Sender]
	if n.Total <= last {
		return fmt.Errorf("message %d of %s has come behind its message %d", n.Total, n.Sender, last)
	}
	v.last[n.Sender] = n.Total
	if n.Series == flooding {
		if known && n.Total != last+1 {
			return fmt.Errorf("messages %d to %d of %s are missing", last+1, n.Total-1, n.Sender)
		}
		return nil
	}
	m := v.in[n.Series]
	if m == nil {
		return fmt.Errorf("message %d to group %d has come, which the client is not in", n.Number, n.Series)
	}
	v.notes[checkGaps].add()
	if n.Announcer < 0 {
		if told, ok := m.told[n.Sender]; ok && n.Number != told+1 {
			return fmt.Errorf("message %d of %s to group %d has come behind message %d", n.Number, n.Sender, n.Series, told)
		}
		m.told[n.Sender] = n.Number
		return nil
	}
	a := n.Announcer
	switch {
	case m.next[a] == 0:
		m.first[a] = n.Number
		if m.joined && n.Number > m.from[a] {
			return fmt.Errorf("messages %d to %d of announcer %d to series %d are missing: the client was a member before they were sent", m.from[a], n.Number-1, a, n.Series)
		}
	case n.Number != m.next[a]:
		return fmt.Errorf("message %d of announcer %d to series %d has come in place of %d", n.Number, a, n.Series, m.next[a])
	}
	m.next[a] = n.Number + 1
	return nil
}

// onJoined takes the answer of the call that joins: the numbers from which on all messages are due.
func (v *view) onJoined(series int, from []int64) error {
	m := v.in[series]
	if m == nil || len(from) != announcers {
		return fmt.Errorf("a join of series %d has been answered with %v", series, from)
	}
	m.joined = true
	copy(m.from[:], from)
	for a := range announcers {
		v.notes[checkJoins].add()
		if m.first[a] > m.from[a] {
			return fmt.Errorf("messages %d to %d of announcer %d to series %d are missing at the beginning", m.from[a], m.first[a]-1, a, series)
		}
	}
	return nil
}

// onDone takes the numbers up to which all messages were sent when a call ran whose answer has come.
func (v *view) onDone(series int, done []int64) error {
	m := v.in[series]
	if m == nil || !m.joined || len(done) != announcers {
		return fmt.Errorf("a member of series %d is told of messages %v, and has joined %t", series, done, m != nil && m.joined)
	}
	for a := range announcers {
		v.notes[checkDone].add()
		if done[a] >= m.from[a] && m.next[a] <= done[a] {
			return fmt.Errorf("messages %d to %d of announcer %d to series %d have not come before an answer that was sent later",
				max(m.from[a], m.next[a]), done[a], a, series)
		}
	}
	return nil
}

// onTold takes the answer of a call that has sent to a group: its own message has come before.
func (v *view) onTold(sender string, series int, number int64) error {
	v.notes[checkDone].add()
	if m := v.in[series]; m == nil || m.told[sender] != number {
		return fmt.Errorf("message %d of the client to group %d has not come back before the answer", number, series)
	}
	return nil
}

// numbering numbers what a client with stateful reconnect receives (docs/protocol.md, 9), and finds what has come twice.
type numbering struct {
	next, last int64
	hashes     map[int64]uint64 // of the last messages, which may come again
}

const mostAgain = 8192 // messages that can come again

var hashSeed = maphash.MakeSeed()

// receive reports whether a message has come before.
func (n *numbering) receive(record []byte, notes *[checks]tally) (again bool, err error) {
	number, hash := n.next, maphash.Bytes(hashSeed, record)
	n.next++
	if number <= n.last {
		notes[checkAgain].add()
		if former, ok := n.hashes[number]; ok && former != hash {
			return true, fmt.Errorf("message %d of the server is another one when it comes again: %.200s", number, record)
		}
		return true, nil
	}
	n.last = number
	n.hashes[number] = hash
	delete(n.hashes, number-mostAgain)
	return false, nil
}

func (n *numbering) sequence(number int64) error {
	if number < 1 || number > n.last+1 {
		return fmt.Errorf("the server goes on with message %d, and the last one was %d", number, n.last)
	}
	n.next = number
	return nil
}
