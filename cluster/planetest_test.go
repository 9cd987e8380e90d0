package cluster

import (
	"testing"
	"testing/synctest"

	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/backplane/planetest"
)

// onMesh is a cluster on a mesh, for the suite that all implementations pass.
func onMesh(m *mesh) planetest.Cluster {
	id := func(b backplane.Backplane) backplane.NodeID { return b.(*Backplane).node.Load().id }
	return planetest.Cluster{
		Open:       func(name string) backplane.Backplane { return m.open(name) },
		Kill:       func(b backplane.Backplane) { m.kill(id(b)) },
		Cut:        func(a, b backplane.Backplane) { m.cut(id(a), id(b)); m.cut(id(b), id(a)) },
		Heal:       func(a, b backplane.Backplane) { m.heal(id(a), id(b)); m.heal(id(b), id(a)) },
		Promises:   planetest.Promises{Interest: true, Known: true, Room: true, Relay: true},
		MaxMessage: 64 << 20,
	}
}

func TestBackplane(t *testing.T) {
	for _, test := range planetest.Tests() {
		t.Run(test.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test.Run(t, onMesh(newMesh())) })
		})
	}
}

// The suite passes also with a clock that is not its own.
func TestBackplaneInRealTime(t *testing.T) {
	planetest.Run(t, func(*testing.T) planetest.Cluster { return onMesh(newMesh()) })
}
