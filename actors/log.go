package actors

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/troupe-go/troupe/internal/logs"
)

// LogKind returns the name of the method, by which what a call logs is limited, or an empty string for all that clients may have made up.
func (k *Call) LogKind() string {
	if k.event == invocation && k.conn.hub.calls[k.method] == nil {
		return ""
	}
	return k.method
}

// logPanic logs a panic of the application's code, in a call unless that is nil: a few times a minute for each method, and once with its stack, so
// that clients cannot flood the log.
func (s *System) logPanic(what string, c *Connection, k *Call, err *PanicError) {
	kind, method := what+"\x00"+c.hub.name, ""
	if k != nil {
		kind, method = kind+"\x00"+k.LogKind(), logs.Clip(k.method)
	}
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
		c.hub.sys.logPanic(what, c, nil, &PanicError{Value: reason, Stack: debug.Stack()})
	}
}

// mostClosings is how many connections of a hub that close for a kind of cause, or drop messages, are logged in a minute, and how many refused
// messages to PIDs.
const mostClosings = 100

// logDropped logs that messages to a client are dropped. It may connect again and again.
func (s *System) logDropped(c *Connection) {
	const what = "messages to a slow client are dropped"
	s.closings.Log(context.Background(), s.log, slog.LevelWarn, what+c.hub.name, what, "hub", c.hub.name, "connection", c.id)
}

// logClosing logs why a connection is closed, a limited number of times a minute for each kind of cause.
func (s *System) logClosing(level slog.Level, c *Connection, cause error) {
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	s.closings.Log(context.Background(), s.log, level, fmt.Sprintf("%s %s %T", level, c.hub.name, cause), "a connection is closed",
		"hub", c.hub.name, "connection", c.id, "cause", logs.Error(cause))
}
