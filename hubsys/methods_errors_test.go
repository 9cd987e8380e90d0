package hubsys_test

import (
	"context"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

type errorsAsValues struct{ hubsys.Hub }

func (*errorsAsValues) Refuse(context.Context) *hubsys.HubError        { return &hubsys.HubError{} }
func (*errorsAsValues) Open(context.Context) (*fs.PathError, error)    { return nil, nil }
func (*errorsAsValues) Failures(context.Context) ([]error, error)      { return nil, nil }
func (*errorsAsValues) Fine(context.Context) (string, error)           { return "", nil }
func (*errorsAsValues) Anything(context.Context) (result any, _ error) { return nil, nil }

// Clients would get such an error as the result, with all that it holds.
func TestAResultThatIsAnErrorIsRefused(t *testing.T) {
	_, err := hubsys.Register[*errorsAsValues](newSystem(t, hubsys.Config{}), nil, hubsys.HubOptions{})
	require.EqualError(t, err, `hubsys: hub *hubsys_test.errorsAsValues: method Open: its result: *fs.PathError is an error, and would be a value for clients: return it as error
method Refuse: its result: *hubsys.HubError is an error, and would be a value for clients: return it as error`)
}
