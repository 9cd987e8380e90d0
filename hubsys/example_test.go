package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Chat is a hub that sends messages to all clients.
type Chat struct{ hubsys.Hub }

var Receive = typed.Message2[string, string]("receive") // a client method; the compiler checks its arguments

// Send sends a message to all clients, which call connection.invoke("Send", user, text).
func (c *Chat) Send(ctx context.Context, user, text string) error {
	return Receive.Send(ctx, c.Clients().All(), user, text)
}

func newChat(context.Context) (*Chat, error) { return &Chat{}, nil }

func Example() {
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	chat, err := hubsys.Register(sys, func(context.Context) (*Chat, error) { return &Chat{}, nil }, hubsys.HubOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := chat.Map("/chat", hubsys.EndpointOptions{}); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sys) // http.ListenAndServe("127.0.0.1:8080", sys)

	ada, bob := connectClient(server.URL+"/chat", ""), connectClient(server.URL+"/chat", "")
	ada.invoke("Send", "ada", "hello")
	fmt.Println("ada received", ada.receiveInvocation())
	fmt.Println("bob received", bob.receiveInvocation())

	ada.close()
	bob.close()
	fmt.Println(errors.Join(sys.Shutdown(context.Background()), server.Config.Shutdown(context.Background())))
	// Output:
	// ada received receive[ada hello]
	// bob received receive[ada hello]
	// <nil>
}

// Typed messages are declared once, and their arguments are checked by the compiler wherever they are sent.
func ExampleMessage2() {
	type quote struct {
		Symbol string
		Price  float64
	}
	var (
		closed = typed.Message0("closed")
		quoted = typed.Message1[quote]("quoted")
		traded = typed.Message2[quote, int]("traded")
	)
	chat, server := startChat(hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/chat", "")

	ctx, all := context.Background(), chat.Clients().All()
	err := errors.Join(
		quoted.Send(ctx, all, quote{"ACME", 12.5}),
		traded.Send(ctx, all, quote{"ACME", 12.5}, 100),
		closed.Send(ctx, all),
	)
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		fmt.Println(ada.receiveInvocation())
	}
	ada.close()
	// Output:
	// quoted[map[price:12.5 symbol:ACME]]
	// traded[map[price:12.5 symbol:ACME] 100]
	// closed[]
}

// Authenticate takes the token from the Authorization header or from the query, because browsers cannot set headers of a WebSocket.
func ExampleEndpointOptions_authenticate() {
	users := map[string]string{"token-of-ada": "ada", "token-of-bob": "bob"}
	banned := map[string]bool{"bob": true}
	authenticate := func(r *http.Request) (*hubsys.Principal, error) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			token = r.URL.Query().Get("access_token")
		}
		user, ok := users[token]
		if !ok {
			return nil, errors.New("the token is not known") // 401
		}
		if banned[user] {
			return nil, hubsys.ErrForbidden // 403
		}
		return &hubsys.Principal{UserID: user}, nil
	}
	chat, server := startChat(hubsys.EndpointOptions{Authenticate: authenticate})

	for _, token := range []string{"token-of-nobody", "token-of-bob"} {
		response, err := http.Post(server.URL+"/chat/negotiate?access_token="+token, "", nil)
		if err != nil {
			log.Fatal(err)
		}
		response.Body.Close()
		fmt.Println(response.Status)
	}
	ada := connectClient(server.URL+"/chat", "token-of-ada")
	if err := Receive.Send(context.Background(), chat.Clients().User("ada"), "system", "welcome"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ada.receiveInvocation())
	ada.close()
	// Output:
	// 401 Unauthorized
	// 403 Forbidden
	// receive[system welcome]
}

// The System is shut down before the http.Server: it closes the connections of its clients, which http.Server.Shutdown does not close.
func ExampleSystem_Shutdown() {
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	chat, err := hubsys.Register(sys, newChat, hubsys.HubOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := chat.Map("/chat", hubsys.EndpointOptions{}); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sys)
	ada := connectClient(server.URL+"/chat", "")
	received := make(chan string)
	go func() {
		text := ada.receiveInvocation()
		ada.close() // as SignalR clients do when the server closes the connection
		received <- text
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(sys.Shutdown(ctx), server.Config.Shutdown(ctx))
	fmt.Println(<-received)
	fmt.Println(err)
	// Output:
	// the server is shutting down, and clients may reconnect
	// <nil>
}

// startChat serves a Chat hub at /chat.
func startChat(options hubsys.EndpointOptions) (*hubsys.HubContext, *httptest.Server) {
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	chat, err := hubsys.Register(sys, newChat, hubsys.HubOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := chat.Map("/chat", options); err != nil {
		log.Fatal(err)
	}
	return chat, httptest.NewServer(sys)
}

// exampleClient is a minimal client. Programs use a SignalR client library instead.
type exampleClient struct {
	ws       *websocket.Conn
	buffered []string // messages that were received together with the last one
}

func connectClient(url, token string) *exampleClient {
	ws, _, err := websocket.Dial(context.Background(), url+"?access_token="+token, nil)
	if err != nil {
		log.Fatal(err)
	}
	c := &exampleClient{ws: ws}
	c.send(`{"protocol":"json","version":1}`)
	c.send(`{"type":1,"invocationId":"1","target":"Ready","arguments":[]}`) // the completion shows that the connection is open
	for answer := ""; !strings.Contains(answer, "invocationId"); {
		_, b, err := ws.Read(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		answer = string(b)
	}
	return c
}

func (c *exampleClient) send(record string) {
	if err := c.ws.Write(context.Background(), websocket.MessageText, []byte(record+"\x1e")); err != nil {
		log.Fatal(err)
	}
}

func (c *exampleClient) invoke(method string, args ...any) {
	record, err := json.Marshal(map[string]any{"type": 1, "target": method, "arguments": args})
	if err != nil {
		log.Fatal(err)
	}
	c.send(string(record))
}

// receive returns the next message.
func (c *exampleClient) receive() string {
	if len(c.buffered) == 0 {
		_, b, err := c.ws.Read(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		c.buffered = strings.Split(strings.TrimSuffix(string(b), "\x1e"), "\x1e")
	}
	record := c.buffered[0]
	c.buffered = c.buffered[1:]
	return record
}

// receiveInvocation returns the next invocation of a client method.
func (c *exampleClient) receiveInvocation() string {
	var m struct {
		Type           int
		Target         string
		Arguments      []any
		AllowReconnect bool
	}
	if err := json.Unmarshal([]byte(c.receive()), &m); err != nil {
		log.Fatal(err)
	}
	if m.Type == 7 && m.AllowReconnect {
		return "the server is shutting down, and clients may reconnect"
	}
	return fmt.Sprint(m.Target, m.Arguments)
}

func (c *exampleClient) close() { _ = c.ws.Close(websocket.StatusNormalClosure, "") }

// handshake returns the response to the handshake for a protocol.
func handshake(url, protocol string) string {
	ws, _, err := websocket.Dial(context.Background(), url, nil)
	if err != nil {
		log.Fatal(err)
	}
	c := &exampleClient{ws: ws}
	defer c.close()
	c.send(`{"protocol":"` + protocol + `","version":1}`)
	return c.receive()
}
