package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// panics raises a panic in an actor when an order at the control port asks for one: before or behind the handling of a message.
type panics struct {
	mu     sync.Mutex
	seen   map[string]bool // the messages that actors have got, by type
	next   string          // type of the message at which the panic is; empty: none is asked for
	behind bool
	spared string // the end of the name of an actor that does not panic
}

// newSystem returns an actor system whose actors panic.
func (p *panics) newSystem() *actor.ActorSystem {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	system.Root.WithSpawnMiddleware(p.spawn)
	return system
}

// spawn has all actors that are spawned get their messages through receive, and so do their children.
func (p *panics) spawn(actor.SpawnFunc) actor.SpawnFunc {
	return func(system *actor.ActorSystem, id string, props *actor.Props, parent actor.SpawnerContext) (*actor.PID, error) {
		return actor.DefaultSpawner(system, id, props.Clone(actor.WithReceiverMiddleware(p.receive), actor.WithSpawnMiddleware(p.spawn)), parent)
	}
}

func (p *panics) receive(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		hit, behind := p.hits(ctx.Self().Id, fmt.Sprintf("%T", envelope.Message))
		if hit && !behind {
			panic("injected panic")
		}
		next(ctx, envelope)
		if hit {
			panic("injected panic")
		}
	}
}

// hits reports whether an actor panics at a message, and where. It does so once for each order.
func (p *panics) hits(id, message string) (hit, behind bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[message] = true
	if hit = message == p.next && (p.spared == "" || !strings.HasSuffix(id, p.spared)); hit {
		p.next = ""
	}
	return hit, p.behind
}

// orders are /panics/seen, which lists the types of messages, /panics/arm?at=TYPE&behind=BOOL&spare=ID, and /panics/due, which says at which
// type a panic is still due; a POST takes the order back.
func (p *panics) orders(mux *http.ServeMux) {
	mux.HandleFunc("GET /panics/seen", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		types := []string{}
		for message := range p.seen {
			types = append(types, message)
		}
		slices.Sort(types)
		_ = json.NewEncoder(w).Encode(types)
	})
	mux.HandleFunc("POST /panics/arm", func(_ http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		query := r.URL.Query()
		p.next, p.behind, p.spared = query.Get("at"), query.Get("behind") == "true", query.Get("spare")
	})
	mux.HandleFunc("GET /panics/due", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		fmt.Fprint(w, p.next)
	})
	mux.HandleFunc("POST /panics/due", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		fmt.Fprint(w, p.next)
		p.next = ""
	})
}
