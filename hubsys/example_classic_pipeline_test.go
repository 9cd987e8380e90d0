package hubsys_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/troupe-go/troupe/hubsys"
)

// DeskHub is a hub with a pipeline around it.
type DeskHub struct{ hubsys.Hub }

// Ring sends a message.
func (h *DeskHub) Ring(ctx context.Context, times int) error {
	return h.Clients().Caller().Send(ctx, "rang", times)
}

// pipeline does what a HubPipelineModule of SignalR 2 does around connections and calls.
func pipeline(next hubsys.Handler) hubsys.Handler {
	inner := next
	next.Connected = func(ctx context.Context) error {
		fmt.Println("before connect")
		err := inner.Connected(ctx)
		fmt.Println("after connect")
		return err
	}
	next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
		fmt.Println("before incoming", in.Method(), in.Args())
		if slices.Contains(in.Args(), any(0)) {
			return nil, hubsys.Errorf("nobody rings %d times", 0) // the method is not called
		}
		result, err := inner.Invoke(ctx, in)
		fmt.Println("after incoming", in.Method())
		return result, err
	}
	next.Disconnected = func(ctx context.Context, cause error) error {
		err := inner.Disconnected(ctx, cause)
		fmt.Println("after disconnect, stop called:", cause == nil)
		return err
	}
	return next
}

// outgoing does the same around what is sent to clients.
func outgoing(next hubsys.SendFunc) hubsys.SendFunc {
	return func(ctx context.Context, out *hubsys.Outgoing) error {
		fmt.Println("before outgoing", out.Method, out.Args)
		err := next(ctx, out)
		fmt.Println("after outgoing")
		return err
	}
}

// Filters are what modules of the pipeline are. Reconnects and renewed credentials have functions in Handler as well.
func ExampleFilter_pipeline() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*DeskHub](sys, nil, hubsys.HubOptions{
		Filters:     []hubsys.Filter{pipeline},
		SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{outgoing},
	}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)

	page := openPage(address+"/signalr", "deskHub")
	page.invoke("deskHub.ring", 2)
	fmt.Println(page.invoke("deskHub.ring", 0))
	page.client.abort()
	stop()
	// Output:
	// before connect
	// after connect
	// before incoming Ring [2]
	// before outgoing rang [2]
	// after outgoing
	// after incoming Ring
	// before incoming Ring [0]
	// nobody rings 0 times
	// after disconnect, stop called: true
}
