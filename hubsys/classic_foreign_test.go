package hubsys_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// The connections of such a hub would be counted by the one System, and given back to the other.
func TestAPathForSignalR2HasNoHubsOfAnotherSystem(t *testing.T) {
	hub := register(t, newSystem(t, hubsys.Config{}), func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{Name: "other"})
	err := newSystem(t, hubsys.Config{}).MapClassic("/signalr", hubsys.ClassicOptions{Hubs: []*hubsys.HubContext{hub}})
	require.EqualError(t, err, `hubsys: ClassicOptions: Hubs[0], "other", is a hub of another System`)
}
