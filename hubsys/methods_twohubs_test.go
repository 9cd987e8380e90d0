package hubsys_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

type secondHub struct{ hubsys.Hub }

func (h *secondHub) Whoami() string { return h.Call().ConnectionID() }

type (
	twoHubs           struct{ *hubBesideItsBase }
	hubBesideAPointer struct {
		hubsys.Hub
		*secondHub
	}
	hubBesideItsBase struct {
		hubsys.Hub
		inner
	}
	inner        struct{ secondHub }
	hubAndAField struct {
		secondHub
		Hub string
	}
)

// Whoami of these would have the Hub of the embedded type, which serves no call.
func TestAHubThatEmbedsHubTwiceIsRefused(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	_, err := hubsys.Register[*hubBesideItsBase](sys, nil, hubsys.HubOptions{})
	require.EqualError(t, err,
		"hubsys: *hubsys_test.hubBesideItsBase embeds hubsys.Hub twice, the second time in hubsys_test.secondHub, whose methods would have a Hub that serves no call")
	_, err = hubsys.Register[*hubBesideAPointer](sys, nil, hubsys.HubOptions{})
	require.ErrorContains(t, err, "the second time in hubsys_test.secondHub")
	_, err = hubsys.Register[*twoHubs](sys, func(context.Context) (*twoHubs, error) { return &twoHubs{&hubBesideItsBase{}}, nil }, hubsys.HubOptions{})
	require.ErrorContains(t, err, "the second time in hubsys_test.secondHub")
	register(t, sys, func(context.Context) (*hubAndAField, error) { return nil, errors.New("not called") }, hubsys.HubOptions{}) // a field of that name is none
}
