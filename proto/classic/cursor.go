package classic

import (
	"fmt"
	"strconv"
	"strings"
)

// Cursor says which messages of a session a client has seen: those up to Number, of the session with an Epoch. Clients send it back as it is, also to
// a session that takes the place of a lost one; sessions that follow each other have different epochs.
type Cursor struct {
	Epoch  uint32
	Number uint64
}

// ParseCursor reads a messageId. It returns false if it is none of this server's, which is no error: the client gets what is new.
func ParseCursor(text string) (c Cursor, ok bool) {
	rest, ok := strings.CutPrefix(text, "d-")
	epoch, number, found := strings.Cut(rest, "-")
	if !ok || !found || len(epoch) != 8 || len(number) > 16 {
		return c, false
	}
	e, err := strconv.ParseUint(epoch, 16, 32)
	if err != nil {
		return c, false
	}
	n, err := strconv.ParseUint(number, 16, 64)
	return Cursor{uint32(e), n}, err == nil
}

func (c Cursor) String() string { return fmt.Sprintf("d-%08X-%X", c.Epoch, c.Number) }

// Envelope is what a client is sent at once: messages, and what has changed of its session.
type Envelope struct {
	Cursor      Cursor
	Initialized bool    // it is the first one
	GoingAway   bool    // the client has to connect again
	Groups      *string // the token of the groups, if they have changed
	LongPoll    int     // milliseconds before the next poll; 0: none
	Messages    [][]byte
}

// Append appends the object. What is absent is left out, because clients look for what is there.
func (e *Envelope) Append(dst []byte) []byte {
	dst = append(dst, `{"C":"`...)
	dst = append(dst, e.Cursor.String()...)
	dst = append(dst, '"')
	if e.Initialized {
		dst = append(dst, `,"S":1`...)
	}
	if e.GoingAway {
		dst = append(dst, `,"T":1`...)
	}
	if e.Groups != nil {
		dst = append(append(append(dst, `,"G":"`...), *e.Groups...), '"') // base64
	}
	if e.LongPoll > 0 {
		dst = strconv.AppendInt(append(dst, `,"L":`...), int64(e.LongPoll), 10)
	}
	dst = append(dst, `,"M":[`...)
	for i, m := range e.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, m...)
	}
	return append(dst, ']', '}')
}
