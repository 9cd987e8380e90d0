package hubactor_test

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

func TestPerGroupSaysWhyItFails(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	first, err := hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "first"})
	require.NoError(t, err)
	second, err := hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "second"})
	require.NoError(t, err)
	none := func(string) *actor.Props { return nil }
	_, err = hubactor.PerGroup(first, none)
	require.NoError(t, err)
	_, err = hubactor.PerGroup(first, none)
	require.ErrorContains(t, err, `hubactor: PerGroup: hub "first" has actors beside its groups already: `)
	require.NoError(t, sys.Shutdown(t.Context()))
	_, err = hubactor.PerGroup(second, none)
	require.EqualError(t, err, "hubactor: PerGroup: hubsys: the system is shutting down")
}
