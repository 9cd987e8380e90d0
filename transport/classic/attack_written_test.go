package classic

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/classic"
)

// A poll that is written when another one has taken its place says nothing of what the client has: the other one may be there because it got nothing.
func TestAPollThatWasReplacedDeliversNothing(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	s := e.openFake(t, "id", actors.WithConnected, one)
	m := s.members[0]
	poll := newReceiver(false)
	require.True(t, s.attach(poll, nil, "", true))
	for i := range e.ReplayMessages {
		_, err := m.TryWrite(framed(fmt.Sprintf("M%d\x1e", i)))
		require.NoError(t, err)
	}
	cursor := classic.Cursor{Epoch: s.epoch}.String()
	envelope, _, _ := s.next(poll)
	require.NotNil(t, envelope)
	again := newReceiver(false)
	require.True(t, s.attach(again, nil, cursor, false))
	s.written(poll)
	n, err := m.TryWrite(framed("Mnew\x1e"))
	require.NoError(t, err)
	require.Zero(t, n, "a sender waits for a client that is there")
	envelope, _, _ = s.next(again)
	require.NotNil(t, envelope)
	require.Equal(t, "0", string(envelope.Messages[0]))
}
