package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClipKeepsValidUTF8(t *testing.T) {
	assert.Equal(t, strings.Repeat("x", maxText), Clip(strings.Repeat("x", maxText)))
	for _, text := range []string{strings.Repeat("x", maxText+1), strings.Repeat("ä", 1000), "x" + strings.Repeat("€", 1000), strings.Repeat("\x80", 1000)} {
		clipped, _, _ := strings.Cut(Clip(text), "…")
		assert.LessOrEqual(t, len(clipped), maxText)
		assert.GreaterOrEqual(t, len(clipped), maxText-utf8.UTFMax)
		assert.Equal(t, utf8.ValidString(text), utf8.ValidString(clipped))
		assert.Contains(t, Clip(text), fmt.Sprintf("(%d bytes)", len(text)))
	}
}

// number returns what the attribute of Allow says.
func number(unlogged []any) int {
	if len(unlogged) == 0 {
		return 0
	}
	return unlogged[1].(int)
}

func TestLimiterCountsMissedEvents(t *testing.T) {
	now := time.Now()
	l := Limiter{Most: 2, now: func() time.Time { return now }}
	count := func(kind string) (logged, missed int) {
		for range 5 {
			ok, m := l.Allow(kind)
			if ok {
				logged++
			}
			missed += number(m)
		}
		return logged, missed
	}
	for _, kind := range []string{"a", "b"} {
		logged, missed := count(kind)
		assert.Equal(t, []int{2, 0}, []int{logged, missed})
	}
	now = now.Add(windowTime)
	logged, missed := count("a")
	assert.Equal(t, []int{2, 3}, []int{logged, missed}, "the next logged event reports the number of missed ones")
	for i := range 10 * maxKinds {
		l.Allow(fmt.Sprint(i))
	}
	assert.LessOrEqual(t, len(l.kinds), maxKinds)
	ok, _ := new(Limiter).Allow("x")
	assert.True(t, ok, "the zero value allows one event")
}

// Who chooses another kind for each event does not get more of them logged.
func TestLimiterOfManyKinds(t *testing.T) {
	now := time.Now()
	l := Limiter{now: func() time.Time { return now }}
	all, logged, missed := 0, 0, 0
	for minute := range 3 {
		before := logged
		for i := range 10 * maxKinds {
			ok, m := l.Allow(fmt.Sprint(minute, " ", i))
			all++
			missed += number(m)
			if ok {
				logged++
			}
		}
		assert.LessOrEqual(t, logged-before, maxKinds)
		assert.Greater(t, logged-before, maxKinds/2, "there is room again in each minute")
		assert.LessOrEqual(t, len(l.kinds), maxKinds)
		now = now.Add(windowTime)
	}
	for i := range maxKinds {
		if ok, m := l.Allow(fmt.Sprint(i)); ok {
			missed += number(m)
		}
	}
	assert.Equal(t, all, logged+missed, "all that was not logged is told of")
}

type panickingHandler struct{ slog.Handler }

func (panickingHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (panickingHandler) Handle(context.Context, slog.Record) error { panic("in Handle") }
func (panickingHandler) WithAttrs([]slog.Attr) slog.Handler        { panic("in WithAttrs") }
func (panickingHandler) WithGroup(string) slog.Handler             { panic("in WithGroup") }

func TestSafeRecoversPanicsOfHandler(t *testing.T) {
	log := slog.New(Safe(panickingHandler{}))
	require.NotPanics(t, func() { log.With("a", 1).WithGroup("g").Error("x") })
	assert.Error(t, log.Handler().Handle(t.Context(), slog.Record{}))
}

// Only the handler calls the Error method, and a panic in it is harmless.
func TestErrorIsFormattedByHandler(t *testing.T) {
	assert.Nil(t, Error(nil))
	var text strings.Builder
	log := slog.New(slog.NewTextHandler(&text, nil))
	log.Info("x", "error", Error(errors.New(strings.Repeat("y", 1000))), "bad", Error(panickingError{}))
	assert.Contains(t, text.String(), "(1000 bytes)")
	assert.Less(t, len(text.String()), 5000)
}

type panickingError struct{}

func (panickingError) Error() string { panic("bad") }
