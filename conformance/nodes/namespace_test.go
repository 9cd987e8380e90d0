//go:build linux

package nodes

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// subnet is that of the nodes that live in namespaces, which nothing else reaches.
const subnet = "10.66.0."

// namespace is a network namespace. It has no name, and ends with the last process in it, so nothing is left when a test is killed.
type namespace struct{ file *os.File }

const ownNamespace = "/proc/thread-self/ns/net"

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{}
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.file, err = os.Open(ownNamespace)
		}
		return err
	})
	require.NoError(t, err)
	t.Cleanup(func() { n.file.Close() })
	return n
}

// onThread calls a function that changes the namespace of its thread, and changes it back.
func onThread(f func() error) error {
	runtime.LockOSThread()
	own, err := os.Open(ownNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer own.Close()
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return cmp.Or(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// do calls a function whose sockets, and whose processes, live in the namespace.
func (n *namespace) do(f func()) error {
	return onThread(func() error {
		err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		return err
	})
}

// ip runs the program of that name in the namespace.
func (n *namespace) ip(t *testing.T, command string) {
	t.Helper()
	var out []byte
	var err error
	require.NoError(t, n.do(func() { out, err = exec.Command("ip", strings.Fields(command)...).CombinedOutput() }))
	require.NoError(t, err, "ip %s: %s", command, out)
}

// network is some namespaces that are joined by a bridge.
type network struct {
	bridge *namespace
	nodes  []*namespace
}

// skipWithoutNamespaces skips a test on a machine where namespaces cannot be made, unless they are required.
func skipWithoutNamespaces(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("ip")
	if err == nil {
		err = onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	}
	switch {
	case err == nil:
	case slices.Contains(strings.Split(os.Getenv("TROUPE_REQUIRE"), ","), "namespaces"):
		t.Fatalf("TROUPE_REQUIRE wants namespaces: %v", err)
	default:
		t.Skipf("network namespaces cannot be made, which takes root and iproute2: %v", err)
	}
}

func newNetwork(t *testing.T, n int) *network {
	t.Helper()
	w := &network{bridge: newNamespace(t)}
	w.bridge.ip(t, "link add bridge type bridge")
	w.bridge.ip(t, "link set bridge up")
	for i := range n {
		x := newNamespace(t)
		w.bridge.ip(t, fmt.Sprintf("link add port%d type veth peer name node netns /proc/%d/fd/%d", i, os.Getpid(), x.file.Fd()))
		w.bridge.ip(t, fmt.Sprintf("link set port%d master bridge up", i))
		x.ip(t, fmt.Sprintf("address add %s%d/24 dev node", subnet, i+1))
		x.ip(t, "link set node up")
		x.ip(t, "link set lo up")
		w.nodes = append(w.nodes, x)
	}
	return w
}

// cut takes a node off the bridge.
func (w *network) cut(t *testing.T, i int) { w.bridge.ip(t, fmt.Sprintf("link set port%d down", i)) }

func (w *network) uncut(t *testing.T, i int) { w.bridge.ip(t, fmt.Sprintf("link set port%d up", i)) }

// block keeps what a node sends from another one.
func (w *network) block(t *testing.T, from, to int) {
	w.nodes[from].ip(t, fmt.Sprintf("route add blackhole %s%d/32", subnet, to+1))
}

func (w *network) unblock(t *testing.T, from, to int) {
	w.nodes[from].ip(t, fmt.Sprintf("route del blackhole %s%d/32", subnet, to+1))
}
