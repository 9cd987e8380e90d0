package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client that knows how to make a method fail does not flood the log.
func TestFailuresThatAreLogged(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("fail", func(context.Context, *testHub, []json.RawMessage) (any, error) { return nil, errors.New("secret") })
	c := dial(t, srv.url)
	for range 250 {
		require.NotNil(t, c.invoke("Do", "fail", []any{}).Error)
	}
	require.Equal(t, 100, strings.Count(srv.log.String(), "secret"))
}
