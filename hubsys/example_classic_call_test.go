package hubsys_test

import (
	"fmt"
	"net/http"

	"github.com/troupe-go/troupe/hubsys"
)

// WhoHub tells clients what it knows about them.
type WhoHub struct{ hubsys.Hub }

// Am tells who calls, and how the connection was opened.
func (h *WhoHub) Am() ([]string, error) {
	call := h.Call()
	request := call.Request()
	cookie, err := request.Cookie("theme")
	if err != nil {
		return nil, err
	}
	return []string{
		call.UserID(), call.Principal().Roles[0], call.HubName() + "." + call.Method(), request.Path(), request.Query("room"), request.Query("transport"),
		request.Header("X-Version"), cookie.Value,
	}, nil
}

// ConnectionID tells the caller what others can send to it by.
func (h *WhoHub) ConnectionID() string { return h.Call().ConnectionID() }

// A call knows its connection, its user, and the request that has opened the connection.
func ExampleCall_Request() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*WhoHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{
		Authenticate: func(*http.Request) (*hubsys.Principal, error) {
			return &hubsys.Principal{UserID: "ada", Roles: []string{"admin"}}, nil
		},
	}))
	address, stop := listen(sys)
	defer stop()

	page := newPage(address+"/signalr", "whoHub")
	page.client.query.Set("room", "lobby") // $.connection.hub.qs = {room: "lobby"}
	page.client.header.Set("Cookie", "theme=dark")
	page.client.header.Set("X-Version", "1.2")
	page.start()
	fmt.Println(page.invoke("whoHub.am"))
	fmt.Println(page.invoke("whoHub.connectionID") == `"`+page.client.id+`"`)
	// Output:
	// ["ada","admin","WhoHub.Am","/signalr/connect","lobby","serverSentEvents","1.2","dark"]
	// true
}
