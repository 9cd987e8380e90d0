package hubactor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// Clients that join groups whose names they make up do not flood the log, and their names are cut there.
func TestGroupsThatFailDoNotFloodTheLog(t *testing.T) {
	const most = 10
	log := &logRecorder{}
	_, url := newRooms(t, newSystem(t, hubsys.Config{Logger: log.logger()}), func(group string) *actor.Props {
		if strings.HasPrefix(group, "props") {
			panic("no props")
		}
		return actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*hubactor.Joined); ok {
				panic("no room")
			}
		})
	})
	c := dial(t, url)
	long := strings.Repeat("x", 1000)
	for i := range 3 * most {
		join(c, fmt.Sprint("props", i, long))
		join(c, fmt.Sprint("actor", i, long))
	}
	eventually(t, func() bool { return strings.Contains(log.String(), "no room") }, "an actor has panicked")
	require.Equal(t, most, strings.Count(log.String(), "the props of a group's actor panicked"))
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "level=ERROR") { // protoactor says more at the level Debug
			require.NotContains(t, line, long)
		}
	}
}
