package main

import (
	"context"
	"iter"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

var receiveText = typed.Message2[int32, string]("Receive")

// BenchHub is for measurements. Its texts are those of a hub in Go, where null is an empty one; what can be null costs more.
type BenchHub struct{ hubsys.Hub }

func newBenchHub(context.Context) (*BenchHub, error) { return &BenchHub{}, nil }

// benchOptions are the options of the hub for measurements. With -filtered, a policy and a filter that do nothing are asked for each call.
func benchOptions(with func(...hubsys.Method) hubsys.HubOptions) hubsys.HubOptions {
	methods := []hubsys.Method{{Func: (*BenchHub).ID, Name: "Id"}}
	if !*filtered {
		return with(methods...)
	}
	allow := func(context.Context, *hubsys.Principal) error { return nil }
	options := with(append(methods, hubsys.Method{Func: (*BenchHub).Echo, Policy: allow})...)
	options.Filters = []hubsys.Filter{func(next hubsys.Handler) hubsys.Handler {
		h := next
		h.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) { return next.Invoke(ctx, in) }
		return h
	}}
	return options
}

func (h *BenchHub) Echo(s string) string                              { return s }
func (h *BenchHub) ID() string                                        { return h.Call().ConnectionID() }
func (h *BenchHub) Slow(ctx context.Context, ms int32) (int32, error) { return ms, delay(ctx, ms) }

func (h *BenchHub) Broadcast(ctx context.Context, i int32, text string) error {
	return receiveText.Send(ctx, h.Clients().All(), i, text)
}

func (h *BenchHub) Join(ctx context.Context, g string) error {
	return h.Groups().Add(ctx, h.Call().ConnectionID(), g)
}

func (h *BenchHub) Leave(ctx context.Context, g string) error {
	return h.Groups().Remove(ctx, h.Call().ConnectionID(), g)
}

func (h *BenchHub) Stream(n int32) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for range n {
			if !yield("hello^", nil) {
				return
			}
		}
	}
}

func (h *BenchHub) SendGroup(ctx context.Context, g string, i int32, text string) error {
	return receiveText.Send(ctx, h.Clients().Group(g), i, text)
}

func (h *BenchHub) SendTo(ctx context.Context, id string, i int32, text string) error {
	return receiveText.Send(ctx, h.Clients().Client(id), i, text)
}
