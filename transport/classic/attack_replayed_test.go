package classic

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/classic"
)

// What was written to a connection that was lost is given to the client that comes back again, though more is sent meanwhile.
func TestWhatIsReplayedIsNotDroppedForWhatIsNew(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	s := e.openFake(t, "id", actors.WithConnected, one)
	m := s.members[0]
	r := newReceiver(false)
	require.True(t, s.attach(r, nil, "", true))
	for i := range e.ReplayMessages {
		_, err := m.TryWrite(framed(fmt.Sprintf("M%d\x1e", i)))
		require.NoError(t, err)
	}
	for {
		if envelope, _, _ := s.next(r); envelope == nil {
			break
		}
	}
	s.detach(r) // nothing of it has reached the client

	again := newReceiver(false)
	require.True(t, s.attach(again, nil, classic.Cursor{Epoch: s.epoch}.String(), false))
	n, err := m.TryWrite(framed("Mnew\x1e"))
	require.NoError(t, err)
	require.Zero(t, n, "a sender waits for a client that is there")
	envelope, _, _ := s.next(again)
	require.NotNil(t, envelope)
	require.Equal(t, "0", string(envelope.Messages[0]))
}
