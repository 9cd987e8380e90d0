package hubsys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A message is counted for those who get it, and not for those who are left out.
func TestMessagesThatAreSentAreCountedByReceiver(t *testing.T) {
	p := newAudienceFixture(t)
	sent := func() (n float64) {
		for _, m := range p.sys.Metrics() {
			if m.Name == "troupe.messages.sent" {
				n += m.Samples[0].Value
			}
		}
		return n
	}
	for receivers, to := range map[float64]hubsys.Receiver{
		5: p.hub.Clients().All(), 4: p.hub.Clients().AllExcept(p.ids[0]), 2: p.hub.Clients().GroupExcept("red", p.ids[0]), 1: p.hub.Clients().Client(p.ids[0]),
	} {
		before := sent()
		require.NoError(t, to.Send(t.Context(), "m"))
		require.Equal(t, receivers, sent()-before)
	}
}
