package cluster

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

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

// weak is a Backplane that promises as little as it may. (Its Subscribe waits: a node that has just come up gets everything until it has said that
// it wants nothing, so that the suite cannot tell from a message that has arrived that the topic is known.)
type weak struct{ *Backplane }

func (w weak) Subscribe(topic string) <-chan struct{} {
	if known := w.Backplane.Subscribe(topic); known != nil {
		<-known
	}
	return nil
}

func (w weak) Wanted(string) bool { return true }

func (w weak) Publish(topic string, message []byte) (<-chan struct{}, error) {
	_, err := w.Backplane.Publish(topic, message)
	return nil, err
}

func (w weak) Relay(backplane.NodeID, http.ResponseWriter, *http.Request) error {
	return backplane.ErrNoRelay
}

// The suite asks no more of a Backplane than it promises.
func TestBackplaneThatPromisesLess(t *testing.T) {
	for _, test := range planetest.Tests() {
		t.Run(test.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh()
				m.delay = func() time.Duration { return 10 * time.Millisecond }
				strong := onMesh(m)
				c := strong
				c.Promises = planetest.Promises{}
				c.Open = func(name string) backplane.Backplane { return weak{m.open(name)} }
				c.Kill = func(b backplane.Backplane) { strong.Kill(b.(weak).Backplane) }
				c.Cut = func(a, b backplane.Backplane) { strong.Cut(a.(weak).Backplane, b.(weak).Backplane) }
				c.Heal = func(a, b backplane.Backplane) { strong.Heal(a.(weak).Backplane, b.(weak).Backplane) }
				test.Run(t, c)
			})
		})
	}
}
