package hubsys_test

import (
	"context"
	"iter"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

type clockService struct{ Name string }

type nestedFromHub struct{ hubsys.Hub }

func (*nestedFromHub) Rest(...hubsys.From[*clockService])                        {}
func (*nestedFromHub) Pointer(*hubsys.From[*clockService])                       {}
func (*nestedFromHub) Slice([]hubsys.From[*clockService])                        {}
func (*nestedFromHub) Items(iter.Seq2[hubsys.From[*clockService], error])        {}
func (*nestedFromHub) Field(struct{ Clock hubsys.From[*clockService] })          {}
func (*nestedFromHub) Embedded(struct{ hubsys.From[*clockService] })             {}
func (*nestedFromHub) LargeRest(...[1000]int)                                    {}
func (*nestedFromHub) Plain(_ context.Context, clock hubsys.From[*clockService]) {}

// Clients cannot fill a From by a parameter that contains one.
func TestFromInsideOfOtherParametersIsRefused(t *testing.T) {
	sys, err := hubsys.New(hubsys.Config{})
	require.NoError(t, err)
	defer sys.Shutdown(t.Context())
	_, err = hubsys.Register[*nestedFromHub](sys, nil, hubsys.HubOptions{Services: hubsys.Fields(struct{ Clock *clockService }{&clockService{}})})
	require.Error(t, err)
	for _, method := range []string{"Rest", "Pointer", "Slice", "Items", "Field", "Embedded"} {
		assert.ErrorContains(t, err, "method "+method+": parameter 1", method)
	}
	assert.ErrorContains(t, err, "method LargeRest: parameter 1: a [1000]int has 8000 bytes, more than 256")
	assert.NotContains(t, err.Error(), "Plain")
}
