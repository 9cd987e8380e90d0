//go:build linux

// Package nodes has tests that start clusters of test servers, each a process of its own, and kill, stop, cut off and restart them. They check what
// the nodes say of each other, and what their clients get.
//
//	TROUPE_NODES=5s,20s,60s TROUPE_NODES_CLIENTS=3000 go test -v ./conformance/nodes
//
// Strangers without the key of a cluster, and nodes of other versions, are tested in package cluster.
package nodes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// testTime is how long a test waits for what happens within a second or two on an idle machine.
const testTime = 90 * time.Second

// directory is where the test server is built.
var directory string

func TestMain(m *testing.M) {
	var err error
	if directory, err = os.MkdirTemp("", "nodes"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Println(err)
		code = 1
	}
	os.RemoveAll(directory)
	os.Exit(code)
}

// buildServer builds the test server, with the race detector if the test has it.
var buildServer = sync.OnceValues(func() (binary string, err error) {
	binary = filepath.Join(directory, "testserver")
	args := []string{"build", "-o", binary}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../testserver")...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("the test server does not build: %w\n%s", err, out)
	}
	return binary, err
})

// lengths returns how long nodes are stopped and cut off, one after the other.
func lengths(t *testing.T) (all []time.Duration) {
	t.Helper()
	text := os.Getenv("TROUPE_NODES")
	if text == "" {
		text = "5s"
	}
	for one := range strings.SplitSeq(text, ",") {
		length, err := time.ParseDuration(one)
		require.NoError(t, err)
		all = append(all, length)
	}
	return all
}

// clients returns how many clients a cluster has that is restarted.
func clients(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TROUPE_NODES_CLIENTS")
	if text == "" {
		return 600
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes ten seconds and more")
	}
}

// await waits until a condition holds, which returns what is wrong as long as it does not. It returns how long that took.
func await(t *testing.T, what string, condition func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := condition()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > testTime {
			require.NoError(t, err, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func milliseconds(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
