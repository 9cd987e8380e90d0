package hubsys_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A nil *HubError in an error is a fault of the method that has returned it, and no panic of this package.
func TestNilHubErrorWrapsNothing(t *testing.T) {
	var none *hubsys.HubError
	require.NotErrorIs(t, error(none), context.Canceled)
}
