package classic

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/classic"
)

// What a client gets of a hub that it has not listed does not keep what is beside it in memory, which it does not get.
func TestProgressOfAHubThatIsNotListedIsKeptAlone(t *testing.T) {
	const messages, size = 100, 60_000
	e, one, two := newFakeEndpoint(t)
	s := e.openFake(t, "session", actors.WithConnected, one)
	s.mu.Lock()
	err := s.addMember(two, actors.WithoutEvents)
	m := s.members[1]
	s.mu.Unlock()
	require.NoError(t, err)
	heap := func() int {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int(stats.HeapAlloc)
	}
	before := heap()
	separator := string(rune(classic.Separator))
	for i := range messages {
		m.take(framed(fmt.Sprintf(`M{"I":"P|%d"}`, i) + separator + `M{"H":"Two","M":"x","A":["` + strings.Repeat("x", size) + `"]}` + separator))
	}
	require.Less(t, heap()-before, messages*size/2)
	require.Len(t, s.messages(), messages)
}
