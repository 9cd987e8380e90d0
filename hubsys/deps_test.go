package hubsys_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who does not use a package does not link what it needs.
func TestPackagesLinkOnlyWhatTheyNeed(t *testing.T) {
	const module = "github.com/troupe-go/troupe/"
	heavy := []string{
		"github.com/golang-jwt/jwt", module + "hubsys/prommetrics", module + "hubsys/otelmetrics", module + "hubsys/oteltrace", "golang.org/x/time", "google.golang.org/grpc", "github.com/asynkron/protoactor-go/remote", "github.com/asynkron/protoactor-go/cluster",
		module + "hubsys/jwtauth", module + "hubsys/hubactor", module + "hubsys/presence",
	}
	needed := map[string][]string{
		"hubsys": nil, "hubsys/typed": nil, "transport": nil, "actors": nil, "proto/hubproto": nil,
		"hubsys/jwtauth":  {"github.com/golang-jwt/jwt", module + "hubsys/jwtauth"},
		"hubsys/hubactor": {module + "hubsys/hubactor"},
		"hubsys/presence": {module + "hubsys/presence"},
	}
	for name, allowed := range needed {
		out, err := exec.Command("go", "list", "-deps", module+name).CombinedOutput()
		require.NoError(t, err, "%s", out)
		for dep := range strings.Lines(string(out)) {
			for _, one := range heavy {
				if strings.HasPrefix(dep, one) {
					assert.Contains(t, allowed, one, "%s imports %s", name, dep)
				}
			}
		}
	}
}
