package hubactor_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// Who leaves a group is the same member as the one that has joined it, also when another user takes over the connection.
func TestAMemberThatBecomesAnotherUser(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub, err := hubsys.Register[*Rooms](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	events := make(chan string, 10)
	_, err = hubactor.PerGroup(hub, func(string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case *hubactor.Joined:
				events <- "+" + m.UserID
			case *hubactor.Left:
				events <- "-" + m.UserID
			}
		})
	})
	require.NoError(t, err)
	require.NoError(t, hub.Map("/users", hubsys.EndpointOptions{
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			return &hubsys.Principal{UserID: r.URL.Query().Get("user")}, nil
		},
		Refresh: &hubsys.RefreshOptions{AllowUserChange: true},
	}))
	url := strings.Replace(serve(t, sys, hub), "/Rooms", "/users", 1)
	post := func(path string, into any) {
		r, err := http.Post(url+path, "", nil)
		require.NoError(t, err)
		defer r.Body.Close()
		require.Equal(t, http.StatusOK, r.StatusCode)
		require.NoError(t, json.NewDecoder(r.Body).Decode(into))
	}
	var n struct{ ConnectionToken string }
	post("/negotiate?negotiateVersion=1&user=ada", &n)
	c := dial(t, url+"?user=ada&id="+n.ConnectionToken)
	join(c, "a")
	require.Equal(t, "+ada", receive(t, events))
	post("/refresh?user=eve&id="+n.ConnectionToken, &struct{}{})
	require.Equal(t, "-ada", receive(t, events))
	require.Equal(t, "+eve", receive(t, events))
	c.result("Leave", "a")
	require.Equal(t, "-eve", receive(t, events))
}
