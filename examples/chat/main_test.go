package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// A second tab of a user is no change of who is there, and is told nevertheless.
func TestEachTabIsToldWhoIsThere(t *testing.T) {
	server := httptest.NewServer(newHandler([]byte(strings.Repeat("s", 32))))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	enter := func(user string) (whoIsThere string) {
		r, err := http.PostForm(server.URL+"/login", map[string][]string{"user": {user}})
		require.NoError(t, err)
		defer func() { _ = r.Body.Close() }()
		token, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		ws, _, err := websocket.Dial(ctx, server.URL+"/chat?access_token="+string(token), nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.CloseNow() })
		for _, record := range []string{`{"protocol":"json","version":1}`, `{"type":1,"target":"enter","arguments":["hall"]}`} {
			require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(record+"\x1e")))
		}
		for {
			_, message, err := ws.Read(ctx)
			require.NoError(t, err)
			for record := range strings.SplitSeq(strings.TrimSuffix(string(message), "\x1e"), "\x1e") {
				var m struct {
					Target    string
					Arguments []json.RawMessage
				}
				require.NoError(t, json.Unmarshal([]byte(record), &m))
				if m.Target == "present" && strings.Contains(string(m.Arguments[1]), user) {
					return string(m.Arguments[1])
				}
			}
		}
	}
	require.Equal(t, `["ada"]`, enter("ada"))
	require.Equal(t, `["ada","bob"]`, enter("bob"))
	require.Equal(t, `["ada","bob"]`, enter("ada"))
}
