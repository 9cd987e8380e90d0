// Package mount has examples of hubs under muxes.
package mount

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/go-chi/chi/v5"

	"github.com/troupe-go/troupe/hubsys"
)

type Chat struct{ hubsys.Hub }

func (c *Chat) Echo(text string) string { return text }

// newSystem returns a System with a hub at each of these paths.
func newSystem(paths ...string) *hubsys.System {
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	chat, err := hubsys.Register(sys, func(context.Context) (*Chat, error) { return &Chat{}, nil }, hubsys.HubOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, path := range paths {
		if err := chat.Map(path, hubsys.EndpointOptions{}); err != nil {
			log.Fatal(err)
		}
	}
	return sys
}

func shutdown(sys *hubsys.System) { _ = sys.Shutdown(context.Background()) }

// page serves the rest of an application.
func page(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a page") }

// try prints who answers the first requests of clients, and a request for another path.
func try(h http.Handler, hub, other string) {
	for _, request := range []struct{ method, path string }{
		{http.MethodPost, hub + "/negotiate?negotiateVersion=1"}, {http.MethodGet, hub}, {http.MethodGet, other},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(request.method, request.path, nil))
		what := "a hub"
		if w.Body.String() == "a page" {
			what = "a page"
		}
		fmt.Println(request.method, request.path, w.Code, what)
	}
}

func Example_serveMux() {
	sys := newSystem("/chat")
	defer shutdown(sys)

	mux := http.NewServeMux()
	mux.HandleFunc("/", page)
	for _, pattern := range sys.Patterns() {
		mux.Handle(pattern, sys)
	}

	try(mux, "/chat", "/chat/rooms")
	// Output:
	// POST /chat/negotiate?negotiateVersion=1 200 a hub
	// GET /chat 400 a hub
	// GET /chat/rooms 200 a page
}

func Example_stripPrefix() {
	sys := newSystem("/chat")
	defer shutdown(sys)

	mux := http.NewServeMux()
	mux.HandleFunc("/", page)
	for _, pattern := range sys.Patterns() {
		mux.Handle("/api"+pattern, http.StripPrefix("/api", sys))
	}

	try(mux, "/api/chat", "/chat")
	// Output:
	// POST /api/chat/negotiate?negotiateVersion=1 200 a hub
	// GET /api/chat 400 a hub
	// GET /chat 200 a page
}

func Example_chi() {
	sys := newSystem("/chat")
	defer shutdown(sys)

	r := chi.NewRouter()
	r.Get("/*", page)
	for _, pattern := range sys.Patterns() {
		r.Handle(pattern, sys)
	}

	try(r, "/chat", "/chat/rooms")
	// Output:
	// POST /chat/negotiate?negotiateVersion=1 200 a hub
	// GET /chat 400 a hub
	// GET /chat/rooms 200 a page
}

// Route and Mount of a chi.Router do not change the path of the request.
func Example_chiRoute() {
	sys := newSystem("/chat")
	defer shutdown(sys)

	r := chi.NewRouter()
	r.Get("/*", page)
	r.Route("/api", func(r chi.Router) {
		for _, pattern := range sys.Patterns() {
			r.Handle(pattern, http.StripPrefix("/api", sys))
		}
	})

	try(r, "/api/chat", "/chat")
	// Output:
	// POST /api/chat/negotiate?negotiateVersion=1 200 a hub
	// GET /api/chat 400 a hub
	// GET /chat 200 a page
}
