// Package logs keeps what clients do from flooding, or breaking, the application's log.
package logs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"
)

// maxText is how many bytes of a text that a client has chosen are logged.
const maxText = 256

// Clip cuts a text that a client has chosen.
func Clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > maxText-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:end], len(text))
}

// Error is err as it is logged: its text, which is made by the log handler alone, may be a client's.
func Error(err error) any {
	if err == nil {
		return nil
	}
	return clipped{err}
}

type clipped struct{ err error }

// LogValue is part of slog.LogValuer. Where it panics, slog says so instead.
func (c clipped) LogValue() slog.Value { return slog.StringValue(Clip(c.err.Error())) }

// Limiter lets each kind of event through a number of times a minute, and counts the others. Kinds may be made of what clients have chosen: when
// there are too many in a minute, the further ones are one kind.
type Limiter struct {
	Most int // 0: once

	now func() time.Time // nil: time.Now

	mu        sync.Mutex
	kinds     map[string]*window
	forgotten time.Time // when those of past minutes were last looked for
}

type window struct {
	start  time.Time
	count  int
	missed int
}

const (
	windowTime = time.Minute
	maxKinds   = 1024 // kinds that are counted apart

	otherKinds = "\x00" // all others
)

// Allow reports whether an event is to be logged, and returns as an attribute how many of its kind were not since the last one that was.
func (l *Limiter) Allow(kind string) (ok bool, unlogged []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds == nil {
		l.kinds = map[string]*window{}
	}
	if l.now == nil {
		l.now = time.Now
	}
	now := l.now()
	w := l.kinds[kind]
	if w == nil && len(l.kinds) >= maxKinds-1 {
		if now.Sub(l.forgotten) >= windowTime {
			l.forgotten = now
			l.forget(now)
		}
		if len(l.kinds) >= maxKinds-1 {
			kind = otherKinds
			w = l.kinds[kind]
		}
	}
	if w == nil {
		w = &window{start: now}
		l.kinds[kind] = w
	}
	if now.Sub(w.start) >= windowTime {
		w.start, w.count = now, 0
	}
	if w.count++; w.count > max(l.Most, 1) {
		w.missed++
		return false, nil
	}
	if w.missed > 0 {
		unlogged, w.missed = []any{"unlogged", w.missed}, 0
	}
	return true, unlogged
}

// Log logs an event, unless there are too many of its kind.
func (l *Limiter) Log(ctx context.Context, log *slog.Logger, level slog.Level, kind, what string, args ...any) {
	if ok, unlogged := l.Allow(kind); ok {
		log.Log(ctx, level, what, append(args, unlogged...)...)
	}
}

// forget makes room for more kinds: those of past minutes go.
func (l *Limiter) forget(now time.Time) {
	for kind, w := range l.kinds {
		if now.Sub(w.start) >= windowTime && kind != otherKinds { // which has missed some
			delete(l.kinds, kind)
		}
	}
}

// Safe returns a handler that calls h and survives its panics.
func Safe(h slog.Handler) slog.Handler { return safe{h} }

type safe struct{ slog.Handler }

func (s safe) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return s.Handler.Enabled(ctx, level)
}

func (s safe) Handle(ctx context.Context, r slog.Record) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("the log handler panicked: %v", reason)
		}
	}()
	return s.Handler.Handle(ctx, r)
}

func (s safe) WithAttrs(attrs []slog.Attr) (h slog.Handler) {
	defer func() {
		if recover() != nil {
			h = s
		}
	}()
	return safe{s.Handler.WithAttrs(attrs)}
}

func (s safe) WithGroup(name string) (h slog.Handler) {
	defer func() {
		if recover() != nil {
			h = s
		}
	}()
	return safe{s.Handler.WithGroup(name)}
}

// InfoAsDebug returns a handler that passes to h as level Debug what is logged at Info.
func InfoAsDebug(h slog.Handler) slog.Handler { return infoAsDebug{h} }

type infoAsDebug struct{ slog.Handler }

func (q infoAsDebug) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, lower(level))
}

func (q infoAsDebug) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lower(r.Level)
	return q.Handler.Handle(ctx, r)
}

func (q infoAsDebug) WithAttrs(attrs []slog.Attr) slog.Handler {
	return infoAsDebug{q.Handler.WithAttrs(attrs)}
}

func (q infoAsDebug) WithGroup(name string) slog.Handler {
	return infoAsDebug{q.Handler.WithGroup(name)}
}

func lower(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}
