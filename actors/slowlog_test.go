package actors

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Clients that are slow, and connect again and again, do not flood the log.
func TestSlowClientsDoNotFloodTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var log bytes.Buffer
		e.sys.log = slog.New(slog.NewTextHandler(&log, nil))
		c := e.open("a", "")
		for range 2 * mostClosings {
			c.conn.post(&messagesDropped{})
		}
		e.settle()
		assert.Equal(t, mostClosings, strings.Count(log.String(), "messages to a slow client are dropped"))
	})
}
