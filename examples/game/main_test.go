package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// A player who is as fast as a number can be does not freeze the room.
func TestNobodyIsTooFastForTheOthers(t *testing.T) {
	sys := newSystem()
	server := httptest.NewServer(sys)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	defer server.Close()
	defer func() { require.NoError(t, sys.Shutdown(ctx)) }()
	ws, _, err := websocket.Dial(ctx, server.URL+"/game", nil)
	require.NoError(t, err)
	ws.SetReadLimit(-1)
	defer func() { _ = ws.CloseNow() }()
	send := func(record string) {
		require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(record+"\x1e")))
	}
	ticks := 0
	until := func(over func(record string) bool) {
		for {
			_, message, err := ws.Read(ctx)
			require.NoError(t, err)
			for record := range strings.SplitSeq(strings.TrimSuffix(string(message), "\x1e"), "\x1e") {
				if strings.Contains(record, `"state"`) {
					ticks++
				}
				if over(record) {
					return
				}
			}
		}
	}
	answer := func(id int, call string) string {
		send(fmt.Sprintf(`{"type":1,"invocationId":"%d",%s}`, id, call))
		var completion struct {
			Type                int
			InvocationID, Error string
		}
		until(func(record string) bool {
			return json.Unmarshal([]byte(record), &completion) == nil && completion.Type == 3 && completion.InvocationID == fmt.Sprint(id)
		})
		return completion.Error
	}
	send(`{"protocol":"json","version":1}`)
	require.Empty(t, answer(1, `"target":"enter","arguments":["hall"]`))
	require.Empty(t, answer(2, `"target":"steer","arguments":["hall",60,-80]`))
	require.NotEmpty(t, answer(3, `"target":"steer","arguments":["hall",1.7e308,0]`))
	ticks = 0
	until(func(string) bool { return ticks > 3*ticksPerSecond })
}
