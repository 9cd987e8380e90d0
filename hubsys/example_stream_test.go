package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Numbers is a hub with streams. It also invokes methods of its clients.
type Numbers struct{ hubsys.Hub }

// Count streams numbers to the client, which calls connection.stream("Count", 3). Yielding an error would end the stream with that error.
func (h *Numbers) Count(ctx context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if ctx.Err() != nil || !yield(i, nil) { // the client has canceled the stream or has disconnected
				return
			}
		}
	}
}

// CountChannel does the same with a channel. The goroutine that sends to it has to end with the context.
func (h *Numbers) CountChannel(ctx context.Context, n int) <-chan int {
	numbers := make(chan int)
	go func() {
		defer close(numbers)
		for i := range n {
			select {
			case numbers <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	return numbers
}

// Sum takes a stream from the client, which calls connection.invoke("Sum", subject). If the client ends the stream with an error, the
// sequence yields that error last.
func (h *Numbers) Sum(numbers iter.Seq2[int, error]) (sum int, err error) {
	for n, err := range numbers {
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// Join takes a stream as a channel. If the client ends the stream with an error, the context is canceled with that error as its cause.
func (h *Numbers) Join(ctx context.Context, separator string, words <-chan string) (string, error) {
	var all []string
	for word := range words {
		all = append(all, word)
	}
	return strings.Join(all, separator), context.Cause(ctx)
}

var Ask = typed.Func1[string, int]("ask") // a client method with a result

// Double invokes a method of its caller, which the client defines with connection.on("ask", question => 21).
func (h *Numbers) Double(ctx context.Context) (int, error) {
	n, err := Ask.Invoke(ctx, h.Clients().Caller(), "which number?")
	return 2 * n, err
}

// Wait returns when the client cancels the call or disconnects.
func (h *Numbers) Wait(ctx context.Context) error {
	<-ctx.Done()
	return hubsys.Errorf("stopped waiting")
}

func startNumbers(hub hubsys.HubOptions, endpoint hubsys.EndpointOptions) (*hubsys.HubContext, *httptest.Server) {
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	numbers, err := hubsys.Register(sys, func(context.Context) (*Numbers, error) { return &Numbers{}, nil }, hub)
	if err != nil {
		log.Fatal(err)
	}
	if err := numbers.Map("/numbers", endpoint); err != nil {
		log.Fatal(err)
	}
	return numbers, httptest.NewServer(sys)
}

func ExampleHub_stream() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/numbers", "")
	ada.send(`{"type":4,"invocationId":"1","target":"Count","arguments":[3]}`)
	for range 4 {
		fmt.Println(ada.receive())
	}
	ada.send(`{"type":4,"invocationId":"2","target":"CountChannel","arguments":[1]}`)
	for range 2 {
		fmt.Println(ada.receive())
	}
	ada.close()
	// Output:
	// {"type":2,"invocationId":"1","item":0}
	// {"type":2,"invocationId":"1","item":1}
	// {"type":2,"invocationId":"1","item":2}
	// {"type":3,"invocationId":"1"}
	// {"type":2,"invocationId":"2","item":0}
	// {"type":3,"invocationId":"2"}
}

func ExampleHub_upload() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/numbers", "")
	ada.send(`{"type":1,"invocationId":"1","target":"Sum","arguments":[],"streamIds":["2"]}`)
	ada.send(`{"type":2,"invocationId":"2","item":20}`)
	ada.send(`{"type":2,"invocationId":"2","item":22}`)
	ada.send(`{"type":3,"invocationId":"2"}`)
	fmt.Println(ada.receive())

	ada.send(`{"type":1,"invocationId":"3","target":"Join","arguments":["-"],"streamIds":["4"]}`)
	ada.send(`{"type":2,"invocationId":"4","item":"a"}`)
	ada.send(`{"type":3,"invocationId":"4","error":"no more words"}`)
	fmt.Println(ada.receive())
	ada.close()
	// Output:
	// {"type":3,"invocationId":"1","result":42}
	// {"type":3,"invocationId":"3","error":"An unexpected error occurred invoking 'Join' on the server. HubException: no more words"}
}

// A client can cancel a stream or a call. The context of the method is canceled then.
func ExampleHub_cancel() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/numbers", "")
	ada.send(`{"type":1,"invocationId":"1","target":"Wait","arguments":[]}`)
	ada.send(`{"type":5,"invocationId":"1"}`)
	fmt.Println(ada.receive())
	ada.close()
	// Output:
	// {"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Wait' on the server. HubException: stopped waiting"}
}

// A hub method that waits for a result of its client does not block further calls of that client.
func ExampleInvoke_typed() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/numbers", "")
	ada.send(`{"type":1,"invocationId":"1","target":"Double","arguments":[]}`)
	fmt.Println(ada.receive())
	ada.send(`{"type":3,"invocationId":"s1","result":21}`)
	fmt.Println(ada.receive())
	ada.close()
	// Output:
	// {"type":1,"invocationId":"s1","target":"ask","arguments":["which number?"]}
	// {"type":3,"invocationId":"1","result":42}
}

// A client method can be invoked from outside of a hub, too. If the connection does not exist, the error is ErrGone.
func ExampleInvoke() {
	numbers, _ := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	_, err := hubsys.Invoke[int](context.Background(), numbers.Clients().Client("unknown"), "ask", "which number?")
	fmt.Println(errors.Is(err, hubsys.ErrGone), err)
	// Output:
	// true Connection 'unknown' does not exist.
}

// Transports limits the transports of clients. AllowedOrigins also enables CORS for these origins.
func ExampleEndpointOptions_transports() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{
		Transports:       hubsys.WebSockets | hubsys.LongPolling,
		AllowedOrigins:   []string{"https://app.example"},
		AllowCredentials: true,
	})
	r, _ := http.NewRequest(http.MethodOptions, server.URL+"/numbers/negotiate", nil)
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "x-requested-with")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	response.Body.Close()
	fmt.Println(response.Header.Get("Access-Control-Allow-Origin"), response.Header.Get("Access-Control-Allow-Credentials"))
	// Output:
	// https://app.example true
}

// RenamedJSON is a custom hub protocol: JSON under another name. A custom protocol may also implement all methods of Protocol itself.
type RenamedJSON struct{ hubproto.Protocol }

// Name returns the name that clients send in their handshake.
func (RenamedJSON) Name() string { return "JSON!" }

func ExampleHubOptions_protocols() {
	_, server := startNumbers(hubsys.HubOptions{Protocols: []hubproto.Protocol{RenamedJSON{hubproto.JSON}, hubproto.MessagePack}}, hubsys.EndpointOptions{})
	for _, protocol := range []string{"json!", "json"} {
		fmt.Println(handshake(server.URL+"/numbers", protocol))
	}
	// Output:
	// {}
	// {"error":"The protocol 'json' is not supported."}
}
