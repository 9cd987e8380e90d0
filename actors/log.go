package actors

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/troupe-go/troupe/internal/logs"
)

// logPanic logs a panic of the application's code: a few times a minute for each method, and once with its stack, so that clients cannot
// flood the log.
func (s *System) logPanic(what string, c *Connection, method string, err *PanicError) {
	kind := what + "\x00" + c.hub.name + "\x00" + method
	logged, unlogged := s.panics.Allow(kind)
	if !logged {
		return
	}
	args := []any{"hub", c.hub.name, "connection", c.id, "method", method, "error", logs.Error(err)}
	if stack, _ := s.stacks.Allow(kind); stack {
		args = append(args, "stack", string(err.Stack))
	}
	s.log.Error(what, append(args, unlogged...)...)
}

// recoverPanic logs a panic of the application's code that a connection has called. It is deferred.
func (c *Connection) recoverPanic(what string) {
	if reason := recover(); reason != nil {
		c.hub.sys.logPanic(what, c, "", &PanicError{Value: reason, Stack: debug.Stack()})
	}
}

// logClosing logs why a connection is closed, a limited number of times a minute for each kind of cause.
func (s *System) logClosing(level slog.Level, c *Connection, cause error) {
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	if logged, unlogged := s.closings.Allow(fmt.Sprintf("%s %s %T", level, c.hub.name, cause)); logged {
		args := append([]any{"hub", c.hub.name, "connection", c.id, "cause", logs.Error(cause)}, unlogged...)
		s.log.Log(context.Background(), level, "a connection is closed", args...)
	}
}
