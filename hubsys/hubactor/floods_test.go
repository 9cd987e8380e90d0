package hubactor_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// Clients cannot flood the log by calls at which an actor panics.
func TestPanicsOfActorsDoNotFloodTheLog(t *testing.T) {
	const calls, most = 300, 50
	log := &logRecorder{}
	c := dial(t, serveIn(t, newSystem(t, hubsys.Config{Logger: log.logger()}), counting(hubactor.PerCall), hubsys.HubOptions{}))
	for range calls {
		c.failure("fail", 1)
	}
	assert.Contains(t, log.String(), "an actor panicked")
	assert.LessOrEqual(t, strings.Count(log.String(), "an actor panicked"), most)
}
