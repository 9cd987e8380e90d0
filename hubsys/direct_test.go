package hubsys

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// directHub has a method of each signature that is called directly. Each notes its arguments.
type directHub struct {
	Hub
	notes []string
	fails error
}

func (h *directHub) note(ctx context.Context, args ...string) {
	name, _ := ctx.Value(noteKey{}).(string)
	h.notes = append(h.notes, name+"("+strings.Join(args, ",")+")")
}

type noteKey struct{}

func (h *directHub) NoneNothing() { h.note(context.Background()) }
func (h *directHub) NoneError() error {
	h.note(context.Background())
	return h.fails
}
func (h *directHub) NoneString() string {
	h.note(context.Background())
	return "result"
}
func (h *directHub) NoneBoth() (string, error) {
	h.note(context.Background())
	return "result", h.fails
}
func (h *directHub) OneNothing(a string) { h.note(context.Background(), a) }
func (h *directHub) OneError(a string) error {
	h.note(context.Background(), a)
	return h.fails
}
func (h *directHub) OneString(a string) string {
	h.note(context.Background(), a)
	return "result"
}
func (h *directHub) OneBoth(a string) (string, error) {
	h.note(context.Background(), a)
	return "result", h.fails
}
func (h *directHub) TwoNothing(a, b string) { h.note(context.Background(), a, b) }
func (h *directHub) TwoError(a, b string) error {
	h.note(context.Background(), a, b)
	return h.fails
}
func (h *directHub) TwoString(a, b string) string {
	h.note(context.Background(), a, b)
	return "result"
}
func (h *directHub) TwoBoth(a, b string) (string, error) {
	h.note(context.Background(), a, b)
	return "result", h.fails
}
func (h *directHub) ThreeNothing(a, b, c string) { h.note(context.Background(), a, b, c) }
func (h *directHub) ThreeError(a, b, c string) error {
	h.note(context.Background(), a, b, c)
	return h.fails
}
func (h *directHub) ThreeString(a, b, c string) string {
	h.note(context.Background(), a, b, c)
	return "result"
}
func (h *directHub) ThreeBoth(a, b, c string) (string, error) {
	h.note(context.Background(), a, b, c)
	return "result", h.fails
}
func (h *directHub) CtxNoneNothing(ctx context.Context) { h.note(ctx) }
func (h *directHub) CtxNoneError(ctx context.Context) error {
	h.note(ctx)
	return h.fails
}
func (h *directHub) CtxNoneString(ctx context.Context) string {
	h.note(ctx)
	return "result"
}
func (h *directHub) CtxNoneBoth(ctx context.Context) (string, error) {
	h.note(ctx)
	return "result", h.fails
}
func (h *directHub) CtxOneNothing(ctx context.Context, a string) { h.note(ctx, a) }
func (h *directHub) CtxOneError(ctx context.Context, a string) error {
	h.note(ctx, a)
	return h.fails
}
func (h *directHub) CtxOneString(ctx context.Context, a string) string {
	h.note(ctx, a)
	return "result"
}
func (h *directHub) CtxOneBoth(ctx context.Context, a string) (string, error) {
	h.note(ctx, a)
	return "result", h.fails
}
func (h *directHub) CtxTwoNothing(ctx context.Context, a, b string) { h.note(ctx, a, b) }
func (h *directHub) CtxTwoError(ctx context.Context, a, b string) error {
	h.note(ctx, a, b)
	return h.fails
}
func (h *directHub) CtxTwoString(ctx context.Context, a, b string) string {
	h.note(ctx, a, b)
	return "result"
}
func (h *directHub) CtxTwoBoth(ctx context.Context, a, b string) (string, error) {
	h.note(ctx, a, b)
	return "result", h.fails
}
func (h *directHub) CtxThreeNothing(ctx context.Context, a, b, c string) { h.note(ctx, a, b, c) }
func (h *directHub) CtxThreeError(ctx context.Context, a, b, c string) error {
	h.note(ctx, a, b, c)
	return h.fails
}
func (h *directHub) CtxThreeString(ctx context.Context, a, b, c string) string {
	h.note(ctx, a, b, c)
	return "result"
}
func (h *directHub) CtxThreeBoth(ctx context.Context, a, b, c string) (string, error) {
	h.note(ctx, a, b, c)
	return "result", h.fails
}

// Methods that are called directly get and return what they do by way of package reflect.
func TestDirectCalls(t *testing.T) {
	found, err := findMethods[*directHub](&HubOptions{})
	require.NoError(t, err)
	require.Len(t, found.exact, 32)
	for name, m := range found.exact {
		require.NotNil(t, m.direct, name)
		for _, fails := range []error{nil, errors.New("no")} {
			call := func(direct directCall) (hub *directHub, result any, err error) {
				f := m.borrow()
				for i, p := range f.params {
					p.SetString(string(rune('a' + i)))
				}
				hub = &directHub{fails: fails}
				m.direct = direct
				result, err = m.call(context.WithValue(t.Context(), noteKey{}, name), hub, f)
				return hub, result, err
			}
			direct := m.direct
			hub, result, err := call(direct)
			wantHub, wantResult, wantErr := call(nil)
			assert.Equal(t, wantHub, hub, name)
			assert.Equal(t, wantResult, result, name)
			assert.Equal(t, wantErr, err, name)
			assert.Len(t, hub.notes, 1, name)
			m.direct = direct
		}
	}
}

// Other signatures are not, and those with named types are others.
func TestReflectedCalls(t *testing.T) {
	type text string
	for _, fn := range []any{
		func(*directHub, text) {}, func(*directHub, int) {}, func(*directHub, ...string) {}, func(*directHub) text { return "" },
		func(*directHub, string, string, string, string) {}, func(*otherHub, string) {}, func(*directHub, string) (string, string) { return "", "" },
	} {
		assert.Nil(t, direct[*directHub](fn), reflect.TypeOf(fn).String())
	}
}

type otherHub struct{ Hub }
