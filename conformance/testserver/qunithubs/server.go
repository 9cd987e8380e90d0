// Package qunithubs has the hubs and raw connections that the QUnit suites of the client of SignalR 2 call, under the names and at the paths
// that stand in those suites.
package qunithubs

import (
	"context"
	"errors"

	"github.com/troupe-go/troupe/hubsys"
)

// Map registers the hubs, and maps them.
func Map(sys *hubsys.System) error {
	var errs []error
	add := func(c *hubsys.HubContext, err error) *hubsys.HubContext {
		errs = append(errs, err)
		return c
	}
	named := func(name string, methods ...hubsys.Method) hubsys.HubOptions {
		return hubsys.HubOptions{Name: name, Methods: methods}
	}
	hubs := []*hubsys.HubContext{
		add(hubsys.Register[*Demo](sys, nil, named("demo", hubsys.Method{Func: (*Demo).OverloadOne, Name: "Overload"}))),
		add(hubsys.Register[*Status](sys, nil, named("StatusHub"))),
		add(hubsys.Register[*GroupChat](sys, nil, named("groupChat"))),
		add(hubsys.Register[*EchoHub](sys, nil, hubsys.HubOptions{})),
		add(hubsys.Register[*RedirectTestHub](sys, nil, hubsys.HubOptions{})),
		add(hubsys.Register[*GroupJoiningHub](sys, nil, hubsys.HubOptions{})),
		add(hubsys.Register[*OnConnectedBufferHub](sys, nil, hubsys.HubOptions{})),
		add(hubsys.Register[*ConnectionDataVerifierHub](sys, nil, hubsys.HubOptions{})),
	}
	echo := add(hubsys.Register[*echo](sys, nil, named("echo")))
	multisend := add(hubsys.Register[*multisend](sys, nil, named("multisend")))
	if err := errors.Join(errs...); err != nil {
		return err
	}

	generic := hubsys.ClassicOptions{Hubs: hubs}
	detailed, jsonp := generic, generic
	detailed.EnableDetailedErrors, jsonp.EnableJSONP = true, true
	raw := hubsys.ClassicOptions{}
	return errors.Join(
		sys.MapClassic("/signalr", detailed), sys.MapClassic("/signalr2/test", generic), sys.MapClassic("/jsonp/signalr", jsonp),
		echo.MapRaw("/echo", raw), multisend.MapRaw("/multisend", raw),
		// The runner of the suites stands in front of these, and answers some of their requests otherwise.
		echo.MapRaw("/redirectionConnection", raw), echo.MapRaw("/statusCodeConnection", raw),
	)
}

// echo sends back what it gets.
type echo struct{ hubsys.Hub }

func (h *echo) OnReceived(ctx context.Context, data string) error {
	return h.Clients().Caller().Send(ctx, "", data)
}

// multisend sends twice when a client connects, and for each thing that it gets.
type multisend struct{ hubsys.Hub }

func (h *multisend) OnConnected(ctx context.Context) error { return h.twice(ctx, "OnConnectedAsync") }

func (h *multisend) OnReceived(ctx context.Context, _ string) error {
	return h.twice(ctx, "OnReceivedAsync")
}

func (h *multisend) twice(ctx context.Context, text string) error {
	caller := h.Clients().Caller()
	return errors.Join(caller.Send(ctx, "", text+"1"), caller.Send(ctx, "", text+"2"))
}
