package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"

	"github.com/troupe-go/troupe/cluster"
	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Chat is a hub. It is the same with one node and with many.
type Chat struct{ hubsys.Hub }

var Receive = typed.Message1[string]("receive")

// Say sends a message to all clients, whatever node they are on.
func (c *Chat) Say(ctx context.Context, text string) error {
	return Receive.Send(ctx, c.Clients().All(), text)
}

// program is what runs on each machine.
type program struct {
	node *cluster.Backplane
	sys  *hubsys.System
	chat *hubsys.HubContext
	mux  *http.ServeMux
}

func start(config cluster.Config) (*program, error) {
	node, err := cluster.New(config)
	if err != nil {
		return nil, err
	}
	sys, err := hubsys.New(hubsys.Config{Backplane: node}) // joins the cluster
	if err != nil {
		return nil, err
	}
	chat, err := hubsys.Register[*Chat](sys, nil, hubsys.HubOptions{})
	if err != nil {
		return nil, err
	}
	if err := chat.Map("/chat", hubsys.EndpointOptions{}); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, pattern := range sys.Patterns() {
		mux.Handle(pattern, sys)
	}
	mux.Handle("GET /livez", sys.Livez())
	mux.Handle("GET /readyz", sys.Readyz())
	mux.Handle("GET /cluster", node) // for operators: not where clients can reach it
	return &program{node, sys, chat, mux}, nil
}

// Two nodes. In production each is a process of its own:
//
//	key, err := base64.StdEncoding.DecodeString(os.Getenv("CLUSTER_KEY")) // openssl rand -base64 32
//	cluster.Config{Seeds: []string{"chat-nodes"}, Key: key}
//
// where chat-nodes is a name with the addresses of some nodes, or of all.
func Example() {
	first, err := start(cluster.Config{Bind: "127.0.0.1:0", Insecure: true, Name: "first"})
	if err != nil {
		log.Fatal(err)
	}
	second, err := start(cluster.Config{Bind: "127.0.0.1:0", Insecure: true, Name: "second", Seeds: []string{first.node.Status().Address}})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(second.mux)
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ada := connect(ctx, server.URL+"/chat")
	n, err := first.chat.Clients().All().Count(ctx)
	fmt.Println(n, err)
	fmt.Println(Receive.Send(ctx, first.chat.Clients().All(), "hello from the first node"))
	_, message, err := ada.Read(ctx)
	fmt.Println(string(message[:len(message)-1]), err)

	fmt.Println(second.node.Status().Peers[0].Name)
	_ = ada.CloseNow()
	fmt.Println(errors.Join(second.sys.Shutdown(ctx), first.sys.Shutdown(ctx)))
	// Output:
	// 1 <nil>
	// <nil>
	// {"type":1,"target":"receive","arguments":["hello from the first node"]} <nil>
	// first
	// <nil>
}

// connect opens a connection. Programs use a SignalR client library instead.
func connect(ctx context.Context, url string) *websocket.Conn {
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"protocol":"json","version":1}`+"\x1e")); err != nil {
		log.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); err != nil { // the answer, when all nodes know of the connection
		log.Fatal(err)
	}
	return ws
}
