package hubsys_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The overview of the package is short enough for one screen.
func TestThePackageOverviewIsShort(t *testing.T) {
	out, err := exec.Command("go", "doc", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Less(t, strings.Count(string(out), "\n"), 60, "%s", out)
}
