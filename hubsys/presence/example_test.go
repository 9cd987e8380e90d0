package presence_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/presence"
)

// Lobby is a hub that puts everyone into one group.
type Lobby struct{ hubsys.Hub }

func (l *Lobby) OnConnected(ctx context.Context) error { return l.Groups().Join(ctx, "lobby") }

// A reload does not show, because the next connection comes within the grace time.
func ExampleTrack() {
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	lobby, err := hubsys.Register[*Lobby](sys, nil, hubsys.HubOptions{})
	if err != nil {
		log.Fatal(err)
	}
	authenticate := func(r *http.Request) (*hubsys.Principal, error) {
		return &hubsys.Principal{UserID: r.URL.Query().Get("user")}, nil
	}
	if err := lobby.Map("/lobby", hubsys.EndpointOptions{Authenticate: authenticate}); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sys)
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	here := presence.Track(ctx, lobby, presence.Options{Grace: 2 * time.Second})

	ada := openTab(ctx, server.URL+"/lobby?user=ada")
	var bob *websocket.Conn
	for change := range here.Watch(ctx, "lobby") {
		fmt.Printf("joined %v, left %v: %v\n", change.Joined, change.Left, here.Users("lobby"))
		switch {
		case bob == nil:
			bob = openTab(ctx, server.URL+"/lobby?user=bob")
		case len(change.Joined) > 0:
			_ = bob.CloseNow() // a reload
			bob = openTab(ctx, server.URL+"/lobby?user=bob")
			_ = ada.CloseNow()
		default:
			_ = bob.CloseNow()
			fmt.Println(sys.Shutdown(ctx))
		}
	}
	// Output:
	// joined [ada], left []: [ada]
	// joined [bob], left []: [ada bob]
	// joined [], left [ada]: [bob]
	// <nil>
}

// openTab opens a connection. Programs use a SignalR client library instead.
func openTab(ctx context.Context, url string) *websocket.Conn {
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"protocol":"json","version":1}`+"\x1e")); err != nil {
		log.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); err != nil { // the answer
		log.Fatal(err)
	}
	return ws
}
