package memory_test

import (
	"testing"

	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/backplane/memory"
	"github.com/troupe-go/troupe/hubsys/backplane/planetest"
)

func TestBackplane(t *testing.T) {
	planetest.Run(t, func(*testing.T) planetest.Cluster {
		var c memory.Cluster
		return planetest.Cluster{
			Open:     func(name string) backplane.Backplane { return c.Node(name) },
			Kill:     func(b backplane.Backplane) { b.(*memory.Node).Kill() },
			Promises: planetest.Promises{Interest: true, Known: true, Room: true, Relay: true},
		}
	})
}
