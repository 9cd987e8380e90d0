package hubsys

import (
	"bytes"
	"encoding/json"
	"maps"
	"sync"

	"github.com/troupe-go/troupe/actors"
	classicproto "github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// State is what a client of SignalR 2 keeps with its proxy of the hub, and sends with each call. What a call sets goes back to it, with the
// result, and with what is sent to [CallerClients].Caller meanwhile. Other clients have none: Get finds nothing, and Set has no effect. It can be
// used concurrently.
type State struct {
	mu      sync.Mutex
	values  map[string]any
	changed map[string]any
	part    bool
}

// State returns the state of the client that has made the call. It is empty in lifetime events.
func (c *Call) State() *State {
	k := c.runtime()
	return k.Attached(func() any { return newState(k) }).(*State)
}

func newState(k *actors.Call) *State {
	s := &State{values: map[string]any{}, changed: map[string]any{}, part: k.Connection().IsPart()}
	if _, _, raw := classicproto.Headers(k.RawHeaders()); s.part && len(raw) > 0 {
		if values, ok := hubproto.DecodeIntegers(raw).(map[string]any); ok {
			s.values = values
		}
	}
	return s
}

// Get returns a value as encoding/json decodes it into an any, except that a number without a fraction is an int64, or nil.
func (s *State) Get(name string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[name]
}

// Set sets a value.
func (s *State) Set(name string, value any) {
	if !s.part {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.values[name]; ok && isSame(before, value) {
		return
	}
	s.values[name], s.changed[name] = value, value
}

// isSame reports whether two values are the same for a client: an int and a float64 can be.
func isSame(a, b any) bool {
	one, err := json.Marshal(a)
	other, otherErr := json.Marshal(b)
	return err == nil && otherErr == nil && bytes.Equal(one, other)
}

// stateChanges returns what a call has changed of the state of its client, or nil.
func stateChanges(k *actors.Call) map[string]any {
	if k == nil || !k.Connection().IsPart() {
		return nil
	}
	s, ok := k.Attached(nil).(*State)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.changed) == 0 {
		return nil
	}
	return maps.Clone(s.changed)
}
