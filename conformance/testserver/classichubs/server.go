package classichubs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Server has the hubs, in a system of their own, and the orders for them.
type Server struct {
	Sys  *hubsys.System
	hubs map[string]*hubsys.HubContext
}

var other *hubsys.HubContext

var events = struct {
	sync.Mutex
	of map[string][]string
}{of: map[string][]string{}}

func note(id, what string) {
	events.Lock()
	defer events.Unlock()
	events.of[id] = append(events.of[id], what)
}

func eventsOf(id string) []string {
	events.Lock()
	defer events.Unlock()
	return append([]string{}, events.of[id]...)
}

// Times are those of the paths for SignalR 2; zero: the defaults.
type Times struct{ Disconnect, KeepAlive, Connection time.Duration }

// New registers and maps the hubs.
func New(sys *hubsys.System, times Times) (*Server, error) {
	s := &Server{Sys: sys, hubs: map[string]*hubsys.HubContext{}}
	add := func(c *hubsys.HubContext, err error) error {
		if err == nil {
			s.hubs[c.Name()] = c
		}
		return err
	}
	options := hubsys.HubOptions{}
	declared := hubproto.JSONOptions{DeclaredNames: true}.Protocol()
	denied := func(_ context.Context, p *hubsys.Principal) error {
		if p.Value == "TestHub" {
			return hubsys.ErrForbidden
		}
		return nil
	}
	test := hubsys.HubOptions{Policy: denied, Protocols: []hubproto.Protocol{declared}, Methods: []hubsys.Method{
		{Func: (*TestHub).OverloadOne, Name: "Overload"}, {Func: (*TestHub).OverloadTwo, Name: "Overload"},
	}}
	named := hubsys.HubOptions{Name: "StrangeName", Methods: []hubsys.Method{{Func: (*NamedHub).Say, Name: "SayIt"}}}
	secret := hubsys.HubOptions{Policy: hubsys.RequireUser}
	mixed := hubsys.HubOptions{Methods: []hubsys.Method{
		{Func: (*MixedHub).One, Policy: hubsys.RequireUser}, {Func: (*MixedHub).Admin, Policy: hubsys.RequireRole("admin")},
		{Func: (*MixedHub).AdaOrBob, Policy: func(_ context.Context, p *hubsys.Principal) error {
			if p.UserID != "ada" && p.UserID != "bob" {
				return hubsys.ErrForbidden
			}
			return nil
		}},
	}}
	err := errors.Join(
		add(hubsys.Register(sys, newTestHub, test)), add(hubsys.Register[*OtherHub](sys, nil, options)), add(hubsys.Register[*NamedHub](sys, nil, named)),
		add(hubsys.Register[*TypedHub](sys, nil, options)), add(hubsys.Register[*SecretHub](sys, nil, secret)), add(hubsys.Register[*MixedHub](sys, nil, mixed)),
		add(hubsys.Register[*EventHub](sys, nil, hubsys.HubOptions{Filters: []hubsys.Filter{pipeline}})), add(hubsys.Register[*Raw](sys, nil, options)), add(hubsys.Register[*RawGroups](sys, nil, options)),
		add(hubsys.Register[*RawSecret](sys, nil, secret)), add(hubsys.Register[*PipeHub](sys, nil, hubsys.HubOptions{
			Filters: []hubsys.Filter{pipeline}, SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{dropping},
		})), add(hubsys.Register[*InvokeSecretHub](sys, nil, hubsys.HubOptions{Methods: []hubsys.Method{{Func: (*InvokeSecretHub).Name, Policy: hubsys.RequireUser}}})),
	)
	if err != nil {
		return nil, err
	}
	other = s.hubs["OtherHub"]
	classic := hubsys.ClassicOptions{Authenticate: authenticate, DisconnectTimeout: times.Disconnect, KeepAlive: times.KeepAlive, ConnectionTimeout: times.Connection}
	detailed, noProxy := classic, classic
	detailed.EnableDetailedErrors, detailed.EnableJSONP = true, true
	noProxy.DisableProxies = true
	return s, errors.Join(
		sys.MapClassic("/signalr", classic), sys.MapClassic("/detailed", detailed), sys.MapClassic("/noproxy", noProxy),
		s.hubs["Raw"].MapRaw("/raw", classic), s.hubs["Raw"].MapRaw("/rawjsonp", detailed), s.hubs["RawGroups"].MapRaw("/rawgroups", classic),
		s.hubs["RawSecret"].MapRaw("/rawsecret", classic),
		s.hubs["TestHub"].Map("/classichub", hubsys.EndpointOptions{Authenticate: authenticate}),
	)
}

// authenticate takes the query user=NAME&role=a,b, or a cookie.
func authenticate(r *http.Request) (*hubsys.Principal, error) {
	user := r.URL.Query().Get("user")
	if cookie, err := r.Cookie("user"); user == "" && err == nil {
		user = cookie.Value
	}
	deny := r.URL.Query().Get("deny") // a hub that the client may not use
	if user == "" && deny == "" {
		return nil, nil
	}
	p := &hubsys.Principal{UserID: user, Value: deny}
	if roles := r.URL.Query().Get("role"); roles != "" {
		p.Roles = strings.Split(roles, ",")
	}
	return p, nil
}

var paths = []string{"/signalr", "/detailed", "/noproxy", "/classichub", "/raw", "/rawjsonp", "/rawgroups", "/rawsecret"}

// Has reports whether a path is one of the hubs'.
func (s *Server) Has(path string) bool {
	for _, prefix := range paths {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// Orders adds the orders below /classic/.
func (s *Server) Orders(mux *http.ServeMux) {
	mux.HandleFunc("/classic/events", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(eventsOf(r.URL.Query().Get("id")))
	})
	for name, audience := range map[string]func(c hubsys.Clients, q map[string][]string) hubsys.Audience{
		"all":     func(c hubsys.Clients, q map[string][]string) hubsys.Audience { return c.AllExcept(q["except"]...) },
		"client":  func(c hubsys.Clients, q map[string][]string) hubsys.Audience { return c.Clients(q["id"]...) },
		"clients": func(c hubsys.Clients, q map[string][]string) hubsys.Audience { return c.Clients(q["id"]...) },
		"group": func(c hubsys.Clients, q map[string][]string) hubsys.Audience {
			return c.Groups(q["group"]...).Except(q["except"]...)
		},
		"groups": func(c hubsys.Clients, q map[string][]string) hubsys.Audience { return c.Groups(q["group"]...) },
		"user":   func(c hubsys.Clients, q map[string][]string) hubsys.Audience { return c.Users(q["user"]...) },
		"users":  func(c hubsys.Clients, q map[string][]string) hubsys.Audience { return c.Users(q["user"]...) },
	} {
		mux.HandleFunc("/classic/"+name, func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			method := q.Get("method")
			if method == "" {
				method = got
			}
			hub := s.hub(q.Get("hub"))
			if hub == nil {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			report(w, audience(hub.Clients(), q).Send(r.Context(), method, q.Get("text")))
		})
	}
	mux.HandleFunc("/classic/shutdown", func(w http.ResponseWriter, _ *http.Request) {
		go func() { _ = s.Sys.Shutdown(context.Background()) }()
		report(w, nil)
	})
	mux.HandleFunc("/classic/raw", func(w http.ResponseWriter, r *http.Request) {
		q, clients := r.URL.Query(), s.hubs["Raw"].Clients()
		to := clients.AllExcept(q["except"]...)
		if ids := q["id"]; len(ids) > 0 {
			to = clients.Clients(ids...)
		}
		report(w, to.Send(r.Context(), "", q.Get("text")))
	})
	mux.HandleFunc("/classic/rawgroup", func(w http.ResponseWriter, r *http.Request) {
		report(w, s.hubs["RawGroups"].Clients().Group(r.URL.Query().Get("group")).Send(r.Context(), "", r.URL.Query().Get("text")))
	})
	mux.HandleFunc("/classic/join", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		report(w, s.hub(q.Get("hub")).Groups().Add(r.Context(), q.Get("id"), q.Get("group")))
	})
	mux.HandleFunc("/classic/leave", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		report(w, s.hub(q.Get("hub")).Groups().Remove(r.Context(), q.Get("id"), q.Get("group")))
	})
}

func (s *Server) hub(name string) *hubsys.HubContext {
	if name == "" {
		name = "TestHub"
	}
	return s.hubs[name]
}

func report(w http.ResponseWriter, err error) {
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(err.Error()))
		return
	}
	_, _ = w.Write([]byte(`"ok"`))
}
