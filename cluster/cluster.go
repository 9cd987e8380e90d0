package cluster

import (
	"cmp"
	"context"
	"net/http"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// networkVersion is that of what frames travel over: the messages of protoactor's remote, as of August 2024.
const networkVersion = "protoactor-go remote 0.0.0-20240822"

// New returns the Backplane of a node, which joins the cluster when it is passed to a System, and leaves it with that: each System needs one of its
// own. An actor system of the application that the System lives in must have no actors and no remote of its own before that.
func New(config Config) (*Backplane, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	c := config.withDefaults()
	return newBackplane(settings{
		cluster: c.Cluster, network: networkVersion, name: c.Name, keys: append([][]byte{[]byte(cmp.Or(string(c.Key), insecureKey))}, c.AcceptedKeys...), maxMessage: c.MaxMessage, log: c.Logger,
		join: func(ctx context.Context, self member, host backplane.Host, e events) (network, error) {
			w, err := newWire(c, host.ActorSystem(), self.id, http.HandlerFunc(host.Serve), e)
			if err == nil {
				err = w.join(ctx)
			}
			if err != nil {
				return nil, err
			}
			return w, nil
		},
	}), nil
}

// insecureKey stands for the key of a cluster that has none.
const insecureKey = "no key"
