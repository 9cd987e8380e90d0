package main

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// with sets a flag for a test.
func with[T any](t *testing.T, what *T, value T) {
	before := *what
	t.Cleanup(func() { *what = before })
	*what = value
}

func TestFlagsThatMeanNothingAreRefused(t *testing.T) {
	require.NoError(t, flag.CommandLine.Parse(nil)) // those of the test are not arguments
	require.NoError(t, checkFlags())
	for name, set := range map[string]func(t *testing.T){
		"at least one":      func(t *testing.T) { with(t, rounds, 0) },
		"too short":         func(t *testing.T) { with(t, window, 0) },
		"at least two":      func(t *testing.T) { with(t, nodeCount, 1) },
		"at least a second": func(t *testing.T) { with(t, churnFor, time.Millisecond) },
		"not a directory":   func(t *testing.T) { with(t, out, os.Args[0]) },
		`called "Troupe"`:   func(t *testing.T) { with(t, &peers, peerFlags{{name: oneNode}}) },
		`called "twice"`:    func(t *testing.T) { with(t, &peers, peerFlags{{name: "twice"}, {name: "twice"}}) },
		`"idle" is no flag`: func(t *testing.T) { require.NoError(t, flag.CommandLine.Parse([]string{"idle"})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { require.NoError(t, flag.CommandLine.Parse(nil)) })
			set(t)
			require.ErrorContains(t, checkFlags(), name)
		})
	}
}

func TestPeers(t *testing.T) {
	var p peerFlags
	own := os.Getpid()
	require.NoError(t, p.Set(fmt.Sprintf("one=localhost:9000,:9001,%d", own)))
	require.Equal(t, peerFlags{{name: "one", addr: "localhost:9000", control: ":9001", pid: own}}, p)
	for _, text := range []string{
		"one=localhost:9000", ":9000,:9001,1", "one=:9000,:9001,1", "one=http://localhost:9000,:9001,1",
		"one=localhost:9000,:9001,1x", "one=localhost:9000,:9001,99999999",
	} {
		require.Error(t, p.Set(text), text)
	}
	require.Len(t, p, 1)
}
