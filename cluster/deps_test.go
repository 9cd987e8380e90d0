package cluster

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who has one node does not link what several need.
func TestSingleNodesDoNotLinkTheCluster(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"hubsys", "hubsys/typed", "hubsys/backplane", "actors", "transport"} {
		out, err := exec.Command("go", "list", "-deps", "github.com/troupe-go/troupe/"+name).CombinedOutput()
		require.NoError(t, err, "%s", out)
		deps := strings.Fields(string(out))
		for _, heavy := range []string{"github.com/asynkron/protoactor-go/remote", "google.golang.org/grpc", "github.com/hashicorp/", "github.com/troupe-go/troupe/cluster"} {
			assert.False(t, slices.ContainsFunc(deps, func(dep string) bool { return strings.HasPrefix(dep, heavy) }), "%s links %s", name, heavy)
		}
	}
}
