package transport_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A client whose POST waits for the hub can poll meanwhile, and gets what it is sent.
func TestAPollWhileABodyWaits(t *testing.T) {
	s := newStage(t, scene{HubOptions: hubsys.HubOptions{InboundLimit: 64 << 10}})
	g := s.visit(nil)
	done := g.posting(strings.NewReader(flood()))
	get(t, s.entered)
	for i := range 20 {
		s.send(t, i)
		g.got(told("n", i))
	}
	require.Empty(t, done, "answered while the hub is busy")
	s.open()
	g.got(strings.TrimSuffix(result("1", `"passed"`), separator))
	get(t, done).is(t, http.StatusOK, "")
}
