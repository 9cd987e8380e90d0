package planetest

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// probe begins messages that only tell whether something arrives.
const probe = "probe "

// event is what a host is told: a message, or that a node has come or gone.
type event struct {
	from  backplane.NodeID
	topic string
	text  string
	node  *backplane.Node
}

// host remembers what it is told.
type host struct {
	actorSystem func() *actor.ActorSystem

	mu     sync.Mutex
	events []event
	probes map[event]bool
	last   int
	rooms  map[string]chan struct{}
	told   map[backplane.NodeID]bool // whether Changed has said that it is up
}

func newHost() *host {
	return &host{
		actorSystem: sync.OnceValue(func() *actor.ActorSystem {
			return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		}),
		probes: map[event]bool{}, rooms: map[string]chan struct{}{}, told: map[backplane.NodeID]bool{},
	}
}

func (h *host) ActorSystem() *actor.ActorSystem { return h.actorSystem() }

func (h *host) Receive(from backplane.NodeID, topic string, message []byte) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := event{from: from, topic: topic, text: string(message)}
	if strings.HasPrefix(e.text, probe) {
		h.probes[e] = true
	} else {
		h.events = append(h.events, e)
	}
	if room := h.rooms[topic]; room != nil {
		return room
	}
	return nil
}

func (h *host) Changed(n backplane.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event{from: n.ID, node: &n})
	h.told[n.ID] = n.Up
}

func (h *host) Missed(backplane.NodeID, uint64) {}

// Serve answers with what it was asked.
func (h *host) Serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Served", r.Header.Get("Asked"))
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintln(w, r.Method, r.URL.RequestURI(), string(body))
}

// met takes the nodes that were there before: the host need not be told that they are up.
func (h *host) met(nodes []backplane.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range nodes {
		if _, ok := h.told[n.ID]; !ok {
			h.told[n.ID] = n.Up
		}
	}
}

// sees reports whether a node is up by what the host has been told.
func (h *host) sees(n *node) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told[n.id]
}

func (h *host) probed(from backplane.NodeID, topic, text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.probes[event{from: from, topic: topic, text: text}]
}

func (h *host) next() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	return h.last
}

// setRoom has Receive return a room for a topic.
func (h *host) setRoom(topic string, room chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rooms[topic] = room
}

// messages returns the messages of a node.
func (h *host) messages(from backplane.NodeID) (messages []event) {
	for _, e := range h.history() {
		if e.from == from && e.node == nil {
			messages = append(messages, e)
		}
	}
	return messages
}

// history returns all that the host has been told.
func (h *host) history() []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]event(nil), h.events...)
}
