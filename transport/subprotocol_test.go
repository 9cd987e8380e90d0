package transport_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestSubprotocolsOfWebSockets(t *testing.T) {
	choose := func(one string) func([]string) string { return func([]string) string { return one } }
	for name, test := range map[string]struct {
		choose    func([]string) string
		requested []string // values of the header
		want      []string
	}{
		"none is asked for":                         {choose("a"), nil, nil},
		"an empty header":                           {choose("a"), []string{""}, nil},
		"a header of separators":                    {choose("a"), []string{" , ,"}, nil},
		"nobody chooses":                            {nil, []string{"a, b"}, nil},
		"none is chosen":                            {choose(""), []string{"a, b"}, nil},
		"the first one is chosen":                   {choose("a"), []string{"a, b"}, []string{"a"}},
		"the last one is chosen":                    {choose("c"), []string{"a,b", "c"}, []string{"c"}},
		"one that the client has not asked for":     {choose("x"), []string{"a, b"}, nil},
		"one that only begins as one of the client": {choose("a"), []string{"ab"}, nil},
		"the only one":                              {choose("graphql-ws"), []string{"graphql-ws"}, []string{"graphql-ws"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newSocketServer(t, hubsys.EndpointOptions{Subprotocol: test.choose}, hubsys.HubOptions{})
			header := http.Header{}
			if test.requested != nil {
				header["Sec-WebSocket-Protocol"] = test.requested
			}
			p, response := h.request(upgradeRequest("/echo", header))
			require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
			require.Equal(t, test.want, response.Header.Values("Sec-WebSocket-Protocol"))
			p.handshake() // the connection speaks the protocol of hubs all the same
			p.write(text, true, invocationJSON("1", "Echo", "x"))
			require.Equal(t, completionJSON("1", `"x"`), p.text())
		})
	}
}

// The function gets what the client asks for, in its order, from all headers. It is not called if that is nothing.
func TestWhatSubprotocolIsAskedWith(t *testing.T) {
	asked := make(chan []string, 10)
	h := newSocketServer(t, hubsys.EndpointOptions{Subprotocol: func(requested []string) string {
		asked <- slices.Clone(requested)
		return requested[len(requested)-1]
	}}, hubsys.HubOptions{})
	_, response := h.request(upgradeRequest("/echo", http.Header{"Sec-WebSocket-Protocol": {" b ,a,, B", "c"}}))
	require.Equal(t, []string{"b", "a", "B", "c"}, receive(t, asked))
	require.Equal(t, []string{"c"}, response.Header.Values("Sec-WebSocket-Protocol"))
	h.request(upgradeRequest("/echo", nil))
	require.Empty(t, asked)
}

// Polls and event streams have no subprotocol.
func TestSubprotocolsAreThoseOfWebSockets(t *testing.T) {
	s := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Subprotocol: func([]string) string {
		t.Error("Subprotocol was called")
		return "a"
	}}})
	header := http.Header{"Sec-Websocket-Protocol": {"a"}}
	require.Empty(t, s.connectPolling(header).post("").header.Values("Sec-WebSocket-Protocol"))
	_, e := s.connectEvents(header)
	require.Empty(t, e.response.Header.Values("Sec-WebSocket-Protocol"))
}
