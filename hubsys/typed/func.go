package typed

import (
	"context"

	"github.com/troupe-go/troupe/hubsys"
)

// Functions of clients, which have a result, by their numbers of parameters.
type (
	// Func0 is a method of clients without parameters, with a result.
	Func0[R any] string
	// Func1 is a method of clients with one parameter and a result.
	Func1[A, R any] string
	// Func2 is a method of clients with two parameters and a result.
	Func2[A, B, R any] string
	// Func3 is a method of clients with three parameters and a result.
	Func3[A, B, C, R any] string
	// Func4 is a method of clients with four parameters and a result.
	Func4[A, B, C, D, R any] string
)

// Invoke is [hubsys.Invoke] with this method.
func (f Func0[R]) Invoke(ctx context.Context, client hubsys.Client) (R, error) {
	return hubsys.Invoke[R](ctx, client, string(f))
}

// Invoke is [hubsys.Invoke] with this method.
func (f Func1[A, R]) Invoke(ctx context.Context, client hubsys.Client, a A) (R, error) {
	return hubsys.Invoke[R](ctx, client, string(f), a)
}

// Invoke is [hubsys.Invoke] with this method.
func (f Func2[A, B, R]) Invoke(ctx context.Context, client hubsys.Client, a A, b B) (R, error) {
	return hubsys.Invoke[R](ctx, client, string(f), a, b)
}

// Invoke is [hubsys.Invoke] with this method.
func (f Func3[A, B, C, R]) Invoke(ctx context.Context, client hubsys.Client, a A, b B, c C) (R, error) {
	return hubsys.Invoke[R](ctx, client, string(f), a, b, c)
}

// Invoke is [hubsys.Invoke] with this method.
func (f Func4[A, B, C, D, R]) Invoke(ctx context.Context, client hubsys.Client, a A, b B, c C, d D) (R, error) {
	return hubsys.Invoke[R](ctx, client, string(f), a, b, c, d)
}
