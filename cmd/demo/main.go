// demo is a chat with rooms, presence and private messages, and a stock ticker, on one page.
//
//	go run ./cmd/demo -client path/to/signalr.min.js
//
// The page uses the official JavaScript client, which "make demo" fetches from npm.
package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
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
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := os.Stat(*client); err != nil {
		return fmt.Errorf("the JavaScript client is not there (make demo fetches it): %w", err)
	}
	// A real application has secret keys. With the same ones after a restart, pages with ?classic go on.
	key := sha256.Sum256([]byte("everybody knows the key of the demo"))
	sys, err := hubsys.New(hubsys.Config{Logger: slog.Default(), Keys: [][]byte{key[:]}})
	if err != nil {
		return err
	}
	chat, err := hubsys.Register[*Chat](sys, nil, hubsys.HubOptions{Policy: hubsys.RequireUser})
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

	pages, err := fs.Sub(web, "web")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(pages))
	mux.HandleFunc("GET /signalr.min.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, *client) })
	for path, file := range map[string]string{"jquery.min.js": "jquery/dist/jquery.min.js", "jquery.signalR.min.js": "signalr/jquery.signalR.min.js"} {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(*modules, file)) })
	}
	mux.Handle("/hubs/", sys)
	mux.Handle("/signalr/", sys)
	mux.Handle("GET /livez", sys.Livez())
	mux.Handle("GET /readyz", sys.Readyz())

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	background, stopBackground := context.WithCancel(ctx)
	defer stopBackground()
	go tick(background, stocks)
	go tellPresent(background, chat)
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		drained <- errors.Join(sys.Drain(deadline, time.Second), server.Shutdown(deadline))
	}()
	fmt.Printf("Open http://%s in two windows, one of them with ?classic for the client of SignalR 2; Ctrl-C ends the demo.\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained // Serve returns as soon as Shutdown begins
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
	if name == "" || len(name) > 40 {
		return nil, errors.New("a name has 1 to 40 bytes")
	}
	return &hubsys.Principal{UserID: name}, nil
}
