package main

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"os"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/hubsys"
)

// LaterHub is TestHub with methods that do something when they are told to, so that a client can be gone by then. What happens is
// noted under a key; notes are read, and methods are released, at the control port: a client that tells of its own end cannot be asked.
type LaterHub struct{ TestHub }

// laterHubMethods are the methods that have other names for clients, or are not for all of them.
var laterHubMethods = []hubsys.Method{
	{Func: (*LaterHub).Original, Name: "renamed"}, {Func: (*LaterHub).ID, Name: "Id"}, {Func: (*LaterHub).UserID, Name: "UserId"},
	{Func: (*LaterHub).AdminOnly, Policy: hubsys.RequireRole("admin")},
}

func newLaterHub(context.Context) (*LaterHub, error) { return &LaterHub{}, nil }

// notebook holds what happened under each key, and the gate at which methods wait.
type notebook struct {
	mu    sync.Mutex
	notes map[string][]string
	gates map[string]chan struct{}
}

var book = notebook{notes: map[string][]string{}, gates: map[string]chan struct{}{}}

func (b *notebook) note(key, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes[key] = append(b.notes[key], text)
}

func (b *notebook) read(key string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notes[key])
}

// save writes all notes to a file, if it has a name.
func (b *notebook) save(file string) error {
	if file == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := json.Marshal(b.notes)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// gate is closed by release, once or several times.
func (b *notebook) gate(key string) chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gates[key] == nil {
		b.gates[key] = make(chan struct{})
	}
	return b.gates[key]
}

func (b *notebook) release(key string) {
	gate := b.gate(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-gate:
	default:
		close(gate)
	}
}

// laterOrders are /notes?key=, /release?key=, and /shutdown, which answers when that is done.
func laterOrders(mux *http.ServeMux, sys *hubsys.System) {
	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(append([]string{}, book.read(r.FormValue("key"))...))
	})
	mux.HandleFunc("GET /release", func(_ http.ResponseWriter, r *http.Request) { book.release(r.FormValue("key")) })
	mux.HandleFunc("GET /shutdown", func(w http.ResponseWriter, r *http.Request) {
		if err := sys.Shutdown(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// held notes that something begins, tells when its client has gone, and waits to be released.
func (h *LaterHub) held(key, what string) {
	aborted := h.Call().Aborted()
	go func() {
		<-aborted
		book.note(key, "gone")
	}()
	book.note(key, what+" begins")
	<-book.gate(key)
}

// did notes how something has ended.
func did(key, what string, err error) error {
	if err != nil {
		what += " fails: " + err.Error()
	}
	book.note(key, what)
	return err
}

// OnConnected is held if the query says hold=1, and greets the group that the query names then.
func (h *LaterHub) OnConnected(ctx context.Context) error {
	request := h.Call().Request()
	key := request.Query("key")
	if request.Query("hold") == "1" {
		h.held(key, "OnConnected")
	}
	if group := request.Query("greet"); group != "" {
		if err := did(key, "greeted", messageText.Send(ctx, h.Clients().Group(group), new("welcome"))); err != nil {
			return err
		}
	}
	return did(key, "connected", nil)
}

func (h *LaterHub) OnDisconnected(context.Context, error) error {
	return did(h.Call().Request().Query("key"), "disconnected", nil)
}

func (h *LaterHub) Note(key, text string) { book.note(key, text) }

// Hold is a call that takes as long as one likes.
func (h *LaterHub) Hold(key, text string) error {
	h.held(key, text)
	return did(key, text, nil)
}

func (h *LaterHub) SendLater(ctx context.Context, key, id, m string) error {
	h.held(key, "SendLater")
	return did(key, "sent", messageText.Send(ctx, h.Clients().Client(id), &m))
}

func (h *LaterHub) GroupLater(ctx context.Context, key, g, m string) error {
	h.held(key, "GroupLater")
	return did(key, "sent to the group", messageText.Send(ctx, h.Clients().Group(g), &m))
}

// AddLater adds somebody else to a group.
func (h *LaterHub) AddLater(ctx context.Context, key, id, g string) error {
	h.held(key, "AddLater")
	return did(key, "added", h.Groups().Add(ctx, id, g))
}

func (h *LaterHub) AskLater(ctx context.Context, key, id, question string) error {
	h.held(key, "AskLater")
	answer, err := ask.Invoke(ctx, h.Clients().Client(id), &question)
	if err == nil && answer != nil {
		book.note(key, "answered: "+*answer)
	}
	return did(key, "asked", err)
}

// AbortLater waits under a key of its own before it aborts its client, and runs on after that.
func (h *LaterHub) AbortLater(key string) error {
	h.held(key+"-abort", "AbortLater")
	h.Call().Abort()
	h.held(key, "aborted")
	return did(key, "aborted", nil)
}

// UploadLater reads its items when it is told to.
func (h *LaterHub) UploadLater(key string, items iter.Seq2[string, error]) error {
	h.held(key, "UploadLater")
	for item, err := range items {
		if err != nil {
			book.note(key, "the upload breaks off")
			return err
		}
		book.note(key, item)
	}
	return did(key, "the upload ends", nil)
}

// StreamJoin is a stream that joins a group before its first item.
func (h *LaterHub) StreamJoin(ctx context.Context, g string) (<-chan string, error) {
	if err := h.Groups().Add(ctx, h.Call().ConnectionID(), g); err != nil {
		return nil, err
	}
	return h.Stream(), nil
}

// UploadJoin joins a group before it reads its items.
func (h *LaterHub) UploadJoin(ctx context.Context, g string, items iter.Seq2[string, error]) error {
	if err := h.Groups().Add(ctx, h.Call().ConnectionID(), g); err != nil {
		return err
	}
	for _, err := range items {
		if err != nil {
			return err
		}
	}
	return nil
}

// StreamNote is a stream that notes something before its first item.
func (h *LaterHub) StreamNote(key, text string) <-chan string {
	book.note(key, text)
	return h.Stream()
}

// registerLater maps the hub with a limit of ten calls at once, and with one of one.
func registerLater(sys *hubsys.System, options hubsys.HubOptions, endpoint hubsys.EndpointOptions) error {
	for _, hub := range []struct {
		name, path string
		limit      int
	}{{"LaterHub", "/later", 10}, {"LaterOneHub", "/later-one", 1}} {
		options.Name, options.MaximumParallelInvocationsPerClient = hub.name, hub.limit
		mapped, err := hubsys.Register(sys, newLaterHub, options)
		if err != nil {
			return err
		}
		if err := mapped.Map(hub.path, endpoint); err != nil {
			return err
		}
	}
	return nil
}
