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

// Lab is a hub with streams, which asks its clients as well.
type Numbers struct{ hubsys.Hub }

// Count streams its results: clients call it with connection.stream("Count", 3). An error would end the stream with it.
func (h *Numbers) Count(ctx context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if ctx.Err() != nil || !yield(i, nil) { // nobody wants more
				return
			}
		}
	}
}

// Count2 does the same with a channel, whoever fills it: that ends with the context, too, should nobody want more.
func (h *Numbers) Count2(ctx context.Context, n int) <-chan int {
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

// Sum takes a stream from its client: connection.invoke("Sum", subject). If the client ends it with an error, that comes last.
func (h *Numbers) Sum(numbers iter.Seq2[int, error]) (sum int, err error) {
	for n, err := range numbers {
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// Join takes a stream as a channel. The error of a client is then the cause of the context's end.
func (h *Numbers) Join(ctx context.Context, separator string, words <-chan string) (string, error) {
	var all []string
	for word := range words {
		all = append(all, word)
	}
	return strings.Join(all, separator), context.Cause(ctx)
}

var Ask = typed.Func1[string, int]("ask") // a method of clients with a result

// Double asks its caller for a number: connection.on("ask", question => 21).
func (h *Numbers) Double(ctx context.Context) (int, error) {
	n, err := Ask.Invoke(ctx, h.Clients().Caller(), "which number?")
	return 2 * n, err
}

// Wait ends when the client cancels the call, or goes.
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
	if err := numbers.Map("/test", endpoint); err != nil {
		log.Fatal(err)
	}
	return numbers, httptest.NewServer(sys)
}

func ExampleHub_stream() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/test", "")
	ada.send(`{"type":4,"invocationId":"1","target":"Count","arguments":[3]}`)
	for range 4 {
		fmt.Println(ada.receive())
	}
	ada.send(`{"type":4,"invocationId":"2","target":"Count2","arguments":[1]}`)
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
	ada := connectClient(server.URL+"/test", "")
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

// A client cancels a stream that it has had enough of, or a call that takes too long: its context ends.
func ExampleHub_cancel() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/test", "")
	ada.send(`{"type":1,"invocationId":"1","target":"Wait","arguments":[]}`)
	ada.send(`{"type":5,"invocationId":"1"}`)
	fmt.Println(ada.receive())
	ada.close()
	// Output:
	// {"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Wait' on the server. HubException: stopped waiting"}
}

// A hub method that waits for its client does not keep that client from calling the hub.
func ExampleInvoke_typed() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	ada := connectClient(server.URL+"/test", "")
	ada.send(`{"type":1,"invocationId":"1","target":"Double","arguments":[]}`)
	fmt.Println(ada.receive())
	ada.send(`{"type":3,"invocationId":"s1","result":21}`)
	fmt.Println(ada.receive())
	ada.close()
	// Output:
	// {"type":1,"invocationId":"s1","target":"ask","arguments":["which number?"]}
	// {"type":3,"invocationId":"1","result":42}
}

// One connection can be asked from outside of a hub, too. That it may be gone is one of the answers.
func ExampleInvoke() {
	numbers, _ := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{})
	_, err := hubsys.Invoke[int](context.Background(), numbers.Clients().Client("nobody"), "ask", "which number?")
	fmt.Println(errors.Is(err, hubsys.ErrGone), err)
	// Output:
	// true Connection 'nobody' does not exist.
}

// Transports limits what clients may use; AllowedOrigins is told to browsers, too.
func ExampleEndpointOptions_transports() {
	_, server := startNumbers(hubsys.HubOptions{}, hubsys.EndpointOptions{
		Transports:       hubsys.WebSockets | hubsys.LongPolling,
		AllowedOrigins:   []string{"https://app.example"},
		AllowCredentials: true,
	})
	r, _ := http.NewRequest(http.MethodOptions, server.URL+"/test/negotiate", nil)
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

// Shouted is a hub protocol of one's own: JSON under another name. Others can do all of a Protocol themselves.
type RenamedJSON struct{ hubproto.Protocol }

// Name is what clients ask for.
func (RenamedJSON) Name() string { return "JSON!" }

func ExampleHubOptions_protocols() {
	_, server := startNumbers(hubsys.HubOptions{Protocols: []hubproto.Protocol{RenamedJSON{hubproto.JSON}, hubproto.MessagePack}}, hubsys.EndpointOptions{})
	for _, protocol := range []string{"json!", "json"} {
		fmt.Println(handshake(server.URL+"/test", protocol))
	}
	// Output:
	// {}
	// {"error":"The protocol 'json' is not supported."}
}
