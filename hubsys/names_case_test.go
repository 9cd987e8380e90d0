package hubsys_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Clients of SignalR 2 write names of hubs in any case.
func TestNamesOfHubsThatDifferInCaseAreRefused(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	register(t, sys, func(context.Context) (*echoBase, error) { return &echoBase{}, nil }, hubsys.HubOptions{Name: "Chat"})
	_, err := hubsys.Register(sys, func(context.Context) (*echoBase, error) { return &echoBase{}, nil }, hubsys.HubOptions{Name: "chat"})
	require.EqualError(t, err, `hubsys: there is a hub named "Chat" already, which clients of SignalR 2 cannot tell from "chat"; HubOptions.Name gives this one another name`)
	_, err = hubsys.Register(sys, func(context.Context) (*echoBase, error) { return &echoBase{}, nil }, hubsys.HubOptions{Name: "Chat"})
	require.EqualError(t, err, `hubsys: there is a hub named "Chat" already; HubOptions.Name gives this one another name`)
}
