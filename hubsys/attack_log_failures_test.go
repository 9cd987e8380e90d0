package hubsys_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// besideHub is a hub around whose methods code of the application fails.
type besideHub struct{ hubsys.Hub }

func (*besideHub) Up(in <-chan panickedItem) { <-in }

type panickedItem struct{}

func (*panickedItem) UnmarshalJSON([]byte) error { panic("no item") }

// Requests and calls at which code of the application panics or fails beside a method do not flood the log.
func TestFailuresBesideMethodsDoNotFloodTheLog(t *testing.T) {
	const most = 100
	log := &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	hub := register(t, sys, func(context.Context) (*besideHub, error) { return &besideHub{}, nil }, hubsys.HubOptions{})
	panics := func(r *http.Request) (*hubsys.Principal, error) {
		if r.Header.Get("Fail") != "" {
			panic("no header")
		}
		return nil, nil
	}
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{Authenticate: panics}))
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{Authenticate: panics}))
	c := dial(t, serveSystem(t, sys)+"/hub")
	requests := func(path string) func() {
		return func() {
			r := httptest.NewRequest(http.MethodPost, path, nil)
			r.Header.Set("Fail", "1")
			w := httptest.NewRecorder()
			sys.ServeHTTP(w, r)
			require.Equal(t, http.StatusInternalServerError, w.Code)
		}
	}
	call := func(records ...string) func() {
		return func() {
			c.send(records...)
			require.Equal(t, 3, c.next().Type)
		}
	}
	for text, do := range map[string]func(){
		`msg="decoding an item panicked"`: call(
			`{"type":1,"invocationId":"1","target":"Up","arguments":[],"streamIds":["i"]}`, `{"type":2,"invocationId":"i","item":{}}`),
		`msg="Authenticate panicked" path=/signalr`: requests("/signalr/negotiate"),
		`msg="Authenticate panicked" hub=`:          requests("/hub/negotiate"),
	} {
		for range most + 20 {
			do()
		}
		require.Equal(t, most, strings.Count(log.String(), text), text)
	}
}
