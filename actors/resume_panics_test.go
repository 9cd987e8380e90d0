package actors

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// withoutSequence is a protocol of an application that panics where it is to write a Sequence.
type withoutSequence struct{ hubproto.Protocol }

func (p withoutSequence) Append(dst []byte, m *hubproto.Message) []byte {
	if m.Type == hubproto.Sequence {
		panic("no Sequence")
	}
	return p.Protocol.Append(dst, m)
}

// A client cannot come back whose protocol cannot tell it where the server goes on. Nobody else notices.
func TestProtocolThatPanicsWhenItsClientComesBack(t *testing.T) {
	inBubbleWith(t, second, func(t *testing.T, e *env) {
		c, other := e.openReturning("a", ""), e.open("b", "")
		assert.False(t, c.resume())
		e.send(&Audience{}, "n", 1)
		e.settle()
		assert.Len(t, other.messages(), 1)
		assert.Contains(t, e.log.errors, "writing a Sequence panicked")
		e.sleep(awayLimit + 2*second)
		require.Equal(t, lifetimeEvents("a", nil), []string{e.handler.events()[0], e.handler.events()[2]})
		c.assertRemoved(t)
	}, withoutSequence{hubproto.JSON})
}
