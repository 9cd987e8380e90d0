package main

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/conformance/testserver/classichubs"
	"github.com/troupe-go/troupe/hubsys"
)

// newHandler serves the hubs, and beside them the paths that are no hubs.
func newHandler(sys *hubsys.System, bench *hubsys.HubContext, injected *panics, classic *classichubs.Server, cluster http.Handler) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, answer func(w http.ResponseWriter, r *http.Request)) {
		mux.Handle(path, only(http.MethodGet, answer))
	}
	get("/generateJwtToken", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "testuser") })
	get("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	get("/start", func(w http.ResponseWriter, r *http.Request) { startBroadcast(bench, w, r) })
	get("/bench/start", func(w http.ResponseWriter, r *http.Request) { startAny(bench, w, r) })
	get("/bench/state", func(w http.ResponseWriter, _ *http.Request) { writeState(sys, w) })
	get("/gc", func(w http.ResponseWriter, _ *http.Request) {
		for range 3 { // what pools and finalizers hold goes with the second and third
			runtime.GC()
		}
		debug.FreeOSMemory()
		fmt.Fprint(w, "ok")
	})
	get("/mem", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, memory()) })
	mux.Handle("/bench/broadcast", only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) {
		burst(bench.Clients().All(), w, r)
	}))
	mux.Handle("/bench/group", only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) {
		name := joined(r.URL.Query(), "name")
		if name == nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		burst(bench.Clients().Group(*name), w, r)
	}))
	mux.Handle("/bench/each", only(http.MethodPost, func(w http.ResponseWriter, r *http.Request) { toEach(bench, w, r) }))
	if *profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.Handle("GET /cluster", cluster)
	mux.Handle("GET /livez", sys.Livez())
	mux.Handle("GET /readyz", sys.Readyz())
	laterOrders(mux, sys)
	classic.Orders(mux)
	if *panicking {
		injected.orders(mux)
	}
	if *pages != "" {
		mux.Handle("GET /pages/", http.StripPrefix("/pages/", http.FileServer(http.Dir(*pages))))
	}
	for _, path := range []string{"/bench", "/bench/negotiate"} { // as in an application: a mux takes longer for a path that it does not know
		mux.Handle(path, sys)
	}
	return asTheReference(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The other hubs are not behind the mux: it would clean their paths.
		if handler, pattern := mux.Handler(r); pattern != "" {
			handler.ServeHTTP(w, r)
			return
		}
		if classic.Has(r.URL.Path) {
			classic.Sys.ServeHTTP(w, r)
			return
		}
		sys.ServeHTTP(w, r)
	}))
}

// only answers requests by one method.
func only(method string, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		answer(w, r)
	}
}

// asTheReference does what the reference's program does before it looks at a path: it sets cookies where clients negotiate, and
// unless there is a list of origins, it lets the pages of every origin do everything. Hubs refuse to do that, with credentials, so the
// origin is hidden from them.
func asTheReference(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if *origins == everyOrigin {
			if origin := r.Header.Get("Origin"); origin != "" {
				w.Header().Set("Access-Control-Allow-Origin", origin)
				w.Header().Set("Access-Control-Allow-Credentials", "true")
				w.Header().Set("Access-Control-Allow-Methods", "GET,POST,DELETE,OPTIONS")
				if asked := r.Header.Values("Access-Control-Request-Headers"); len(asked) > 0 {
					w.Header().Set("Access-Control-Allow-Headers", strings.Join(asked, ","))
				}
				r.Header.Del("Origin")
			}
			if r.Method == http.MethodOptions {
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		if r.Method != http.MethodOptions && strings.Contains(r.URL.Path, "/negotiate") {
			http.SetCookie(w, &http.Cookie{Name: "testCookie", Value: "testValue", Path: "/"})
			http.SetCookie(w, &http.Cookie{Name: "testCookie2", Value: "testValue2", Path: "/"})
			http.SetCookie(w, &http.Cookie{Name: "expiredCookie", Value: "doesntmatter", Path: "/", Expires: time.Now().Add(-time.Hour)})
		}
		next.ServeHTTP(w, r)
	})
}

// numbers are the numbers that an order has in its query; without one of them, or with something else, the order is refused.
func numbers[N int32 | float64](w http.ResponseWriter, r *http.Request, parse func(string) (N, error), keys ...string) []N {
	var all []N
	for _, key := range keys {
		n, err := parse(orEmpty(joined(r.URL.Query(), key)))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return nil
		}
		all = append(all, n)
	}
	return all
}

func parseInt(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int32(n), err
}

func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// burst sends n messages with a text of so many bytes, as the query says.
func burst(to hubsys.Receiver, w http.ResponseWriter, r *http.Request) {
	order := numbers(w, r, parseInt, "n", "bytes")
	if order == nil {
		return
	}
	n, bytes := order[0], order[1]
	if bytes < 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	text := strings.Repeat("x", int(bytes))
	for i := range n {
		if err := receiveText.Send(r.Context(), to, i, text); err != nil {
			return
		}
	}
	fmt.Fprint(w, n)
}

// memory is the number of bytes that the process has in memory, or, where that is not known, that Go has taken from the system.
func memory() uint64 {
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			if pages, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
				return pages * uint64(os.Getpagesize())
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys
}
