// demo is a chat with rooms, presence and private messages, and a stock ticker, on one page.
//
//	go run ./cmd/demo -client path/to/signalr.min.js
//
// The page uses the official JavaScript client, which "make demo" fetches from npm. With -nodes 3 there are three nodes, each a process of its own,
// behind a proxy. On machines of their own they are started one by one, with the same key:
//
//	DEMO_KEY=$(openssl rand -hex 32)
//	DEMO_KEY=… demo -addr 10.0.0.1:8080 -node one -cluster 10.0.0.1 -seeds 10.0.0.1,10.0.0.2
//	DEMO_KEY=… demo -addr 10.0.0.2:8080 -node two -cluster 10.0.0.2 -seeds 10.0.0.1,10.0.0.2
package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

//go:embed web
var web embed.FS

var (
	addr    = flag.String("addr", "127.0.0.1:8080", "where to serve")
	client  = flag.String("client", "conformance/node_modules/@microsoft/signalr/dist/browser/signalr.min.js", "the official JavaScript client, signalr.min.js")
	proxies = flag.String("proxies", "", "write the proxies of the hubs for the client of SignalR 2 to this file, and end")
	modules = flag.String("modules", "conformance/node_modules", "where npm has put jquery and signalr, for the page with ?classic")
)

func main() {
	flag.Parse()
	err := checkFlags()
	if err == nil {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func checkFlags() error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("there are flags only, and no %q", flag.Arg(0))
	case *nodeCount < 0:
		return fmt.Errorf("-nodes %d", *nodeCount)
	case *clusterAt == "" && *seeds != "":
		return errors.New("-seeds needs -cluster")
	case *clusterAt != "" && *node == "" && *nodeCount == 0: // its people would be taken for those of others without a name
		return errors.New("-cluster needs -node")
	case *node == everyNode || strings.Contains(*node, "/"):
		return fmt.Errorf("-node %s: no node can be called that", *node)
	}
	if _, err := os.Stat(*client); err != nil {
		return fmt.Errorf("the JavaScript client is not there (make demo fetches it): %w", err)
	}
	return nil
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *nodeCount > 0 {
		return runNodes(ctx, *nodeCount)
	}
	if *withInput {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	// A real application has secret keys. With the same ones after a restart, pages with ?classic go on.
	key := sha256.Sum256([]byte("everybody knows the key of the demo"))
	config := hubsys.Config{Logger: slog.Default(), Keys: [][]byte{key[:]}}
	plane, err := newBackplane()
	if err != nil {
		return err
	}
	if plane != nil {
		config.Backplane = plane
	}
	reception := &reception{plane: plane, rooms: make(chan string)}
	sys, err := hubsys.New(config)
	if err != nil {
		return err
	}
	newChat := func(context.Context) (*Chat, error) { return &Chat{reception: reception}, nil }
	chat, err := hubsys.Register(sys, newChat, hubsys.HubOptions{Policy: hubsys.RequireUser})
	if err != nil {
		return err
	}
	stocks, err := hubsys.Register[*Stocks](sys, nil, hubsys.HubOptions{})
	if err != nil {
		return err
	}
	if err := errors.Join(
		chat.Map("/hubs/chat", hubsys.EndpointOptions{Authenticate: byName}),
		stocks.Map("/hubs/stocks", hubsys.EndpointOptions{}),
		sys.MapClassic("/signalr", hubsys.ClassicOptions{Authenticate: byNameIfAny}),
	); err != nil {
		return err
	}

	if *proxies != "" {
		return writeProxies(sys, *proxies)
	}

	mux := newMux(sys)
	mux.Handle("GET /livez", sys.Livez())
	mux.Handle("GET /readyz", sys.Readyz())
	if plane != nil {
		mux.Handle("GET /cluster", plane) // a real application shows it to its operators alone
	}

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	background, stopBackground := context.WithCancel(context.Background()) // until all calls have returned
	defer stopBackground()
	go tick(background, stocks)
	go reception.run(background, chat)
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		drained <- errors.Join(sys.Drain(deadline, time.Second), server.Shutdown(deadline))
	}()
	if !*withInput {
		invite(listener.Addr())
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained // Serve returns as soon as Shutdown begins
}

// newMux serves the page, and has hubs serve their paths.
func newMux(hubs http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	pages, _ := fs.Sub(web, "web")
	mux.Handle("/", http.FileServerFS(pages))
	mux.HandleFunc("GET /signalr.min.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, *client) })
	for path, file := range map[string]string{"jquery.min.js": "jquery/dist/jquery.min.js", "jquery.signalR.min.js": "signalr/jquery.signalR.min.js"} {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(*modules, file)) })
	}
	mux.Handle("/hubs/", hubs)
	mux.Handle("/signalr/", hubs)
	return mux
}

func invite(addr net.Addr) {
	fmt.Printf("Open http://%s in two windows, one of them with ?classic for the client of SignalR 2; Ctrl-C ends the demo.\n", addr)
}

// writeProxies writes the proxies of the hubs for the client of SignalR 2 to a file.
func writeProxies(sys *hubsys.System, name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(sys.WriteClassicProxies(file, "/signalr"), file.Close())
}

// byNameIfAny is byName for paths with hubs that need no name.
func byNameIfAny(r *http.Request) (*hubsys.Principal, error) {
	if r.URL.Query().Get("name") == "" {
		return nil, nil
	}
	return byName(r)
}

// byName takes everybody's word for who they are. A real application would look at a session or a token.
func byName(r *http.Request) (*hubsys.Principal, error) {
	name := r.URL.Query().Get("name")
	if name == "" || len(name) > longestName {
		return nil, fmt.Errorf("a name has 1 to %d bytes", longestName)
	}
	return &hubsys.Principal{UserID: name}, nil
}
