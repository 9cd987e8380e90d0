package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"

	"github.com/troupe-go/troupe/hubsys"
)

// Counter is a hub for clients of both dialects.
type Counter struct{ hubsys.Hub }

// Count counts in the state that a client of SignalR 2 keeps, and tells how far it is.
func (c *Counter) Count(ctx context.Context, to int, progress hubsys.Progress[int]) (string, error) {
	for i := range to {
		if err := progress.Report(ctx, i+1); err != nil {
			return "", err
		}
	}
	c.Call().State().Set("counted", to)
	return fmt.Sprintf("counted to %d", to), nil
}

// OnReconnected is called when a client of SignalR 2 has lost its connection, and has come back.
func (c *Counter) OnReconnected(context.Context) error { return nil }

// Hubs are served to clients of SignalR 2 beside those of ASP.NET Core SignalR. What the client of SignalR 2 does is written out here.
func ExampleSystem_MapClassic() {
	sys, _ := hubsys.New(hubsys.Config{Keys: [][]byte{[]byte("32 random bytes from a safe place")[:32]}})
	defer func() { _ = sys.Shutdown(context.Background()) }()
	counter, _ := hubsys.Register[*Counter](sys, nil, hubsys.HubOptions{})
	_ = counter.Map("/counter", hubsys.EndpointOptions{})
	_ = sys.MapClassic("/signalr", hubsys.ClassicOptions{})
	server := httptest.NewServer(sys)
	defer server.Close()

	query := url.Values{"clientProtocol": {"2.1"}, "connectionData": {`[{"name":"counter"}]`}}
	get := func(path string) io.ReadCloser {
		response, err := http.Get(server.URL + "/signalr/" + path + "?" + query.Encode())
		if err != nil {
			panic(err)
		}
		return response.Body
	}
	var negotiated struct{ ProtocolVersion, ConnectionToken string }
	_ = json.NewDecoder(get("negotiate")).Decode(&negotiated)
	fmt.Println("protocol", negotiated.ProtocolVersion)
	query.Set("transport", "serverSentEvents")
	query.Set("connectionToken", negotiated.ConnectionToken)
	stream := get("connect")
	defer stream.Close()
	_, _ = io.Copy(os.Stdout, get("start"))
	fmt.Println()
	response, _ := http.Post(server.URL+"/signalr/send?"+query.Encode(), "application/x-www-form-urlencoded",
		strings.NewReader("data="+url.QueryEscape(`{"H":"counter","M":"count","A":[3],"I":0}`)))
	_, _ = io.Copy(os.Stdout, response.Body)
	// Output:
	// protocol 2.0
	// { "Response": "started" }
	// {"S":{"counted":3},"R":"counted to 3","I":"0"}
}

// Shouter is a hub for raw connections.
type Shouter struct{ hubsys.Hub }

// OnReceived gets what a client sends.
func (s *Shouter) OnReceived(ctx context.Context, data string) error {
	return s.Clients().All().Send(ctx, "", strings.ToUpper(data))
}

// A hub with a method OnReceived does what a PersistentConnection of SignalR 2 does.
func ExampleHubContext_MapRaw() {
	sys, _ := hubsys.New(hubsys.Config{})
	defer func() { _ = sys.Shutdown(context.Background()) }()
	shouter, _ := hubsys.Register[*Shouter](sys, nil, hubsys.HubOptions{})
	fmt.Println(shouter.MapRaw("/shout", hubsys.ClassicOptions{}))
	fmt.Println(sys.Patterns())
	// Output:
	// <nil>
	// [/shout/]
}
