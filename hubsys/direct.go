package hubsys

import "context"

// directCall calls a method without package reflect.
type directCall func(ctx context.Context, hub Instance, f *callArgs) (result any, err error)

// direct returns how to call a method of H whose parameters are at most three strings, perhaps behind a context, and whose result is nothing, an
// error, a string, or a string and an error. It returns nil for others, which package reflect calls: that takes a fifth of what a small call costs
// (BenchmarkInvoke).
func direct[H Instance](fn any) directCall {
	switch fn := fn.(type) {
	case func(H):
		return func(_ context.Context, hub Instance, _ *callArgs) (any, error) {
			fn(hub.(H))
			return nil, nil
		}
	case func(H) error:
		return func(_ context.Context, hub Instance, _ *callArgs) (any, error) {
			return nil, fn(hub.(H))
		}
	case func(H) string:
		return func(_ context.Context, hub Instance, _ *callArgs) (any, error) {
			return fn(hub.(H)), nil
		}
	case func(H) (string, error):
		return func(_ context.Context, hub Instance, _ *callArgs) (any, error) {
			return withError(fn(hub.(H)))
		}
	case func(H, string):
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			fn(hub.(H), f.text(0))
			return nil, nil
		}
	case func(H, string) error:
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return nil, fn(hub.(H), f.text(0))
		}
	case func(H, string) string:
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return fn(hub.(H), f.text(0)), nil
		}
	case func(H, string) (string, error):
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return withError(fn(hub.(H), f.text(0)))
		}
	case func(H, string, string):
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			fn(hub.(H), f.text(0), f.text(1))
			return nil, nil
		}
	case func(H, string, string) error:
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return nil, fn(hub.(H), f.text(0), f.text(1))
		}
	case func(H, string, string) string:
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return fn(hub.(H), f.text(0), f.text(1)), nil
		}
	case func(H, string, string) (string, error):
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return withError(fn(hub.(H), f.text(0), f.text(1)))
		}
	case func(H, string, string, string):
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			fn(hub.(H), f.text(0), f.text(1), f.text(2))
			return nil, nil
		}
	case func(H, string, string, string) error:
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return nil, fn(hub.(H), f.text(0), f.text(1), f.text(2))
		}
	case func(H, string, string, string) string:
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return fn(hub.(H), f.text(0), f.text(1), f.text(2)), nil
		}
	case func(H, string, string, string) (string, error):
		return func(_ context.Context, hub Instance, f *callArgs) (any, error) {
			return withError(fn(hub.(H), f.text(0), f.text(1), f.text(2)))
		}
	case func(H, context.Context):
		return func(ctx context.Context, hub Instance, _ *callArgs) (any, error) {
			fn(hub.(H), ctx)
			return nil, nil
		}
	case func(H, context.Context) error:
		return func(ctx context.Context, hub Instance, _ *callArgs) (any, error) {
			return nil, fn(hub.(H), ctx)
		}
	case func(H, context.Context) string:
		return func(ctx context.Context, hub Instance, _ *callArgs) (any, error) {
			return fn(hub.(H), ctx), nil
		}
	case func(H, context.Context) (string, error):
		return func(ctx context.Context, hub Instance, _ *callArgs) (any, error) {
			return withError(fn(hub.(H), ctx))
		}
	case func(H, context.Context, string):
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			fn(hub.(H), ctx, f.text(0))
			return nil, nil
		}
	case func(H, context.Context, string) error:
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return nil, fn(hub.(H), ctx, f.text(0))
		}
	case func(H, context.Context, string) string:
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return fn(hub.(H), ctx, f.text(0)), nil
		}
	case func(H, context.Context, string) (string, error):
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return withError(fn(hub.(H), ctx, f.text(0)))
		}
	case func(H, context.Context, string, string):
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			fn(hub.(H), ctx, f.text(0), f.text(1))
			return nil, nil
		}
	case func(H, context.Context, string, string) error:
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return nil, fn(hub.(H), ctx, f.text(0), f.text(1))
		}
	case func(H, context.Context, string, string) string:
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return fn(hub.(H), ctx, f.text(0), f.text(1)), nil
		}
	case func(H, context.Context, string, string) (string, error):
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return withError(fn(hub.(H), ctx, f.text(0), f.text(1)))
		}
	case func(H, context.Context, string, string, string):
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			fn(hub.(H), ctx, f.text(0), f.text(1), f.text(2))
			return nil, nil
		}
	case func(H, context.Context, string, string, string) error:
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return nil, fn(hub.(H), ctx, f.text(0), f.text(1), f.text(2))
		}
	case func(H, context.Context, string, string, string) string:
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return fn(hub.(H), ctx, f.text(0), f.text(1), f.text(2)), nil
		}
	case func(H, context.Context, string, string, string) (string, error):
		return func(ctx context.Context, hub Instance, f *callArgs) (any, error) {
			return withError(fn(hub.(H), ctx, f.text(0), f.text(1), f.text(2)))
		}
	}
	return nil
}

// text returns a parameter that is a string.
func (f *callArgs) text(i int) string { return f.params[i].String() }

// withError returns what a call with an error has as its result: nothing.
func withError(result string, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return result, nil
}
