package hubsys_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Requests that name another origin, or another host, each time do not flood the log.
func TestOriginsAndHostsDoNotFloodTheLog(t *testing.T) {
	const requests, most = 5000, 1100
	for name, test := range map[string]struct {
		options hubsys.EndpointOptions
		change  func(r *http.Request, i int)
	}{
		"origins": {hubsys.EndpointOptions{AllowedOrigins: []string{"https://ok.example"}}, func(r *http.Request, i int) { r.Header.Set("Origin", fmt.Sprintf("https://x%d.example", i)) }},
		"hosts":   {hubsys.EndpointOptions{AllowedHosts: []string{"ok.example"}}, func(r *http.Request, i int) { r.Host = fmt.Sprintf("x%d.example", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logRecorder{}
			sys := newSystem(t, hubsys.Config{Logger: log.logger()})
			require.NoError(t, register(t, sys, func(context.Context) (*loggedHub, error) { return &loggedHub{}, nil }, hubsys.HubOptions{}).Map("/hub", test.options))
			for i := range requests {
				r := httptest.NewRequest(http.MethodGet, "/hub", nil)
				test.change(r, i)
				sys.ServeHTTP(httptest.NewRecorder(), r)
			}
			require.LessOrEqual(t, strings.Count(log.String(), "level=WARN"), most)
		})
	}
}
