package transport_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// A WebSocket that is not opened gives up the room for its connection, and ends what was negotiated.
func TestAWebSocketThatIsNotOpenedLeavesNothing(t *testing.T) {
	e := newTestEndpoint(t)
	upgrade := func(w http.ResponseWriter, token string) {
		r := httptest.NewRequest(http.MethodGet, "/test?id="+token, nil)
		r.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		e.Connect(w, r)
	}
	for name, fail := range map[string]func(w http.ResponseWriter, token string){
		"it cannot be hijacked": func(w http.ResponseWriter, token string) { upgrade(w, token) },
		"it panics": func(w http.ResponseWriter, token string) {
			require.PanicsWithValue(t, "on purpose", func() { upgrade(panickingWriter{w}, token) })
		},
	} {
		token := e.negotiate(t)
		fail(httptest.NewRecorder(), token)
		require.Zero(t, e.rooms.Load(), name)
		w := httptest.NewRecorder()
		upgrade(w, token)
		require.Equal(t, http.StatusNotFound, w.Code, name)
	}
}
