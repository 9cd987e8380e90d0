package presence_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/presence"
)

// post sends an empty POST to the room, and returns the answer.
func (e *env) post(path, query string, into any) {
	e.t.Helper()
	client := &http.Client{Transport: e.transport()}
	defer client.CloseIdleConnections()
	r, err := client.Post("http://pipe/room"+path+"?"+query, "", nil)
	require.NoError(e.t, err)
	defer r.Body.Close()
	require.Equal(e.t, http.StatusOK, r.StatusCode)
	require.NoError(e.t, json.NewDecoder(r.Body).Decode(into))
}

// openRefreshable opens a tab whose credentials can be refreshed.
func (e *env) openRefreshable(user, groups string) (refresh func(user string), closeTab func()) {
	e.t.Helper()
	var n struct{ ConnectionToken string }
	e.post("/negotiate", "negotiateVersion=1&user="+user, &n)
	closeTab = e.dial(fmt.Sprintf("id=%s&user=%s&groups=%s", n.ConnectionToken, user, groups))
	return func(user string) {
		e.post("/refresh", fmt.Sprintf("id=%s&user=%s", n.ConnectionToken, user), &struct{}{})
		synctest.Wait()
	}, closeTab
}

func TestARefreshToAnotherUserReplacesTheFormerOne(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{Grace: presence.None, Everyone: true})
		r := watch(t.Context(), here)
		refresh, closeTab := e.openRefreshable("ada", "g")
		require.ElementsMatch(t, []string{" +ada", "g +ada"}, r.take())
		refresh("eve")
		require.Equal(t, []string{"eve"}, here.Users("g"))
		require.Equal(t, []string{"eve"}, here.Users(""))
		require.False(t, here.Online("ada"))
		_ = r.take()
		refresh("") // an anonymous one is not counted
		require.Empty(t, here.Users("g"))
		require.False(t, here.Online("eve"))
		require.ElementsMatch(t, []string{" -eve", "g -eve"}, r.take())
		refresh("ada")
		require.ElementsMatch(t, []string{" +ada", "g +ada"}, r.take())
		closeTab()
		require.Empty(t, here.Users("g"))
		require.Empty(t, here.Users(""))
		require.ElementsMatch(t, []string{" -ada", "g -ada"}, r.take())
	})
}

// Clients who are told who is there get a list in any case.
func TestNobodyIsAnEmptyList(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		users, err := json.Marshal(track(e, presence.Options{}).Users("g"))
		require.NoError(t, err)
		require.Equal(t, "[]", string(users))
	})
}
