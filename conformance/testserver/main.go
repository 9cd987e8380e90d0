// testserver serves the hubs that the conformance suites and the load generators call. It is the counterpart of a program with the
// same paths, hubs, methods and orders on the reference server, so that both servers can be given the same questions.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

var (
	addr     = flag.String("addr", "127.0.0.1:9000", "serves the hubs")
	ctrl     = flag.String("ctrl", "127.0.0.1:9001", "takes the load generators' orders")
	detailed = flag.Bool("detailed", true, "clients see the text of every error")
	parallel = flag.Int("parallel", 1, "invocations of one client that run at once (10 on /testhub)")
	jsonOnly = flag.Bool("json", false, "speak JSON alone, as the reference's program does")
	verbose  = flag.Bool("v", false, "log what happens inside")
)

func main() {
	flag.Parse()
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	log := slog.New(slog.DiscardHandler)
	if *verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	sys, err := hubsys.New(hubsys.Config{Logger: log})
	if err != nil {
		return err
	}
	var protocols []hubproto.Protocol
	if *jsonOnly {
		protocols = []hubproto.Protocol{hubproto.JSON}
	}
	test, err := hubsys.Register(sys, newTestHub, hubsys.HubOptions{
		Protocols:            protocols,
		Methods:              map[string]string{"Original": "renamed"},
		EnableDetailedErrors: *detailed, MaximumParallelInvocationsPerClient: 10,
	})
	if err != nil {
		return err
	}
	options := hubsys.HubOptions{Protocols: protocols, EnableDetailedErrors: *detailed, MaximumParallelInvocationsPerClient: *parallel}
	uncreatable, err := hubsys.Register(sys, newUncreatableHub, options)
	if err != nil {
		return err
	}
	bench, err := hubsys.Register(sys, newBenchHub, options)
	if err != nil {
		return err
	}
	endpoint := hubsys.EndpointOptions{Authenticate: authenticate}
	if err := errors.Join(test.Map("/testhub", endpoint), uncreatable.Map("/uncreatable", endpoint), bench.Map("/bench", endpoint), bench.Map("/ws", endpoint)); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /start", func(w http.ResponseWriter, r *http.Request) { broadcast(bench, w, r) })
	mux.HandleFunc("GET /gc", func(http.ResponseWriter, *http.Request) {
		for range 3 { // what pools and finalizers hold goes with the second and third
			runtime.GC()
		}
		debug.FreeOSMemory()
	})
	mux.HandleFunc("GET /mem", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintln(w, m.Sys)
	})
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, runtime.NumGoroutine()) })
	mux.HandleFunc("GET /pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	control, err := net.Listen("tcp", *ctrl)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(control, mux) }()
	return http.ListenAndServe(*addr, orders(bench, sys))
}

// orders adds the paths that are no hubs.
func orders(bench *hubsys.HubContext, hubs http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := func() string { n, _ := strconv.Atoi(r.FormValue("bytes")); return strings.Repeat("x", n) }
		to := bench.Clients().All()
		switch r.URL.Path {
		case "/generateJwtToken":
			fmt.Fprint(w, "testuser")
		case "/pid":
			fmt.Fprint(w, os.Getpid())
		case "/bench/group":
			to = bench.Clients().Group(r.FormValue("name"))
			fallthrough
		case "/bench/broadcast":
			n, _ := strconv.Atoi(r.FormValue("n"))
			payload := text()
			for i := range n {
				if err := receiveText.Send(r.Context(), to, i, payload); err != nil {
					return
				}
			}
			fmt.Fprint(w, n)
		default:
			hubs.ServeHTTP(w, r)
		}
	})
}

// authenticate takes "name" as a bearer token, from the header or from the query.
func authenticate(r *http.Request) (*hubsys.Principal, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		token = r.URL.Query().Get("access_token")
	}
	name, role, ok := strings.Cut(token, ":")
	principal := &hubsys.Principal{UserID: name}
	if ok {
		principal.Claims = map[string]any{"role": role}
	}
	return principal, nil
}

// broadcast sends rate messages a second to everyone on the bench hub, for dur milliseconds.
func broadcast(bench *hubsys.HubContext, w http.ResponseWriter, r *http.Request) {
	type tick struct {
		T    int64  `json:"t"`
		User string `json:"user"`
		Text string `json:"text"`
	}
	receive := hubsys.Message1[tick]("Receive")
	rate, _ := strconv.ParseFloat(r.FormValue("rate"), 64)
	ms, _ := strconv.ParseFloat(r.FormValue("dur"), 64)
	start := time.Now()
	for i := 0; time.Since(start) < time.Duration(ms*float64(time.Millisecond)); i++ {
		if rate > 0 {
			if early := time.Until(start.Add(time.Duration(float64(i) / rate * float64(time.Second)))); early > 0 {
				time.Sleep(early)
			}
		}
		if err := receive.Send(r.Context(), bench.Clients().All(), tick{time.Now().UnixNano(), "alice", "hello^ this is a broadcast message"}); err != nil {
			return
		}
	}
	fmt.Fprintln(w, "ok")
}
