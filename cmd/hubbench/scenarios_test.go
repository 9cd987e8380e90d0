package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScenariosAreComparedWithWhatIsMeasured(t *testing.T) {
	names := map[string]bool{}
	for i, sc := range scenarios {
		require.False(t, names[sc.name], "%s: names are unique", sc.name)
		names[sc.name] = true
		if sc.beside != "" {
			require.True(t, names[sc.beside], "%s is measured beside what stands above it", sc.name)
			require.False(t, scenarios[i-1].full && !sc.full, "%s has something beside it in a core run", sc.name)
		}
		for _, target := range sc.targets {
			require.True(t, target.baseline == 0 || sc.baseline != "", "%s has a baseline", sc.name)
			require.True(t, target.beside == 0 || sc.beside != "", "%s is measured beside something", sc.name)
		}
	}
}

func TestScenariosAreChosen(t *testing.T) {
	count := func(only string, core bool) (blocked, all int) {
		for _, block := range blocks(only, core) {
			blocked++
			all += len(block)
		}
		return blocked, all
	}
	blocked, all := count("", false)
	require.Equal(t, len(scenarios), all)
	require.Less(t, blocked, all)
	_, inCore := count("", true)
	require.Less(t, inCore, all)
	blocked, all = count("depth 1", true)
	require.Equal(t, 1, blocked, "those that are compared with each other")
	require.Equal(t, 2, all)
	_, all = count("churn,idle", false)
	require.Equal(t, 4, all)
	_, all = count("no such name", false)
	require.Zero(t, all)
}

func TestServersAreMeasuredWhereTheyCanBe(t *testing.T) {
	of := func(name string) *scenario {
		for i := range scenarios {
			if scenarios[i].name == name {
				return &scenarios[i]
			}
		}
		t.Fatal(name)
		return nil
	}
	troupe, nodes, aspnet := &server{name: oneNode}, &server{name: "3 nodes", nodes: 3}, &server{name: original, warm: true}
	loop, bare, peer := &server{name: rawLoop}, &server{name: bareEcho}, &server{name: "peer"}
	for name, want := range map[string][]bool{ // in the order above
		"echo, depth 1, 200":              {true, false, true, false, true, true},
		"echo, depth 1, 200, MessagePack": {true, false, false, false, false, true},
		"broadcast 1,000 × 50/s":          {true, false, true, true, false, true},
		"nodes: idle, 10,000":             {true, true, false, false, false, false},
		"churn, 200/s":                    {true, false, false, false, false, true},
	} {
		for i, s := range []*server{troupe, nodes, aspnet, loop, bare, peer} {
			require.Equal(t, want[i], of(name).isFor(s), "%s: %s", name, s.name)
		}
	}
}

func TestOfferedRates(t *testing.T) {
	require.InDelta(t, 50000, (&load{kind: broadcast, connections: 1000, rate: 50}).offered(), 0)
	require.InDelta(t, 19900, (&load{kind: broadcast, connections: 200, rate: 100, deaf: 1}).offered(), 0)
	require.InDelta(t, 50000, (&load{kind: broadcast, connections: 10000, groups: 1000, rate: 5000}).offered(), 0)
	require.Zero(t, (&load{kind: echo, connections: 200}).offered())
}
