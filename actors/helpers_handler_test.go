package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

type method func(k *Call, args string) (any, error)

// handler is a Handler whose methods and callbacks are set by the test.
type handler struct {
	methods      map[string]method
	bind         func(k *Call) // called before the arguments are bound
	connected    func(k *Call) error
	disconnected func(k *Call, cause error)
	refreshed    func(k *Call)
	describe     func(generic string, err error) string
	panicked     func(k *Call, err error)
	done         chan struct{}

	mu       sync.Mutex
	recorded []string
}

func newHandler() *handler {
	h := &handler{}
	h.methods = map[string]method{
		"echo": func(_ *Call, args string) (any, error) { return json.RawMessage(args), nil },
		"fail": func(*Call, string) (any, error) { return nil, errors.New("no") },
		"wait": func(k *Call, _ string) (any, error) { // returns when its context ends
			select {
			case <-k.Done():
				return nil, context.Cause(k)
			case <-h.done:
				return nil, nil
			}
		},
	}
	return h
}

func (h *handler) record(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recorded = append(h.recorded, fmt.Sprintf(format, args...))
}

func (h *handler) events() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.recorded...)
}

func (h *handler) Invoke(k *Call, dst []byte) []byte {
	target, _ := k.Target()
	name, args := string(target), string(k.Arguments())
	if h.bind != nil {
		h.bind(k)
	}
	k.SetMethod(name, nil)
	k.Bound()
	m := h.methods[name]
	if m == nil {
		m = func(*Call, string) (any, error) { return nil, errors.New("no method") }
	}
	result, err := m(k, args)
	if len(k.ID()) == 0 {
		return dst
	}
	protocol := k.Connection().Protocol()
	if err != nil {
		return protocol.AppendError(dst, k.ID(), err.Error())
	}
	dst, err = protocol.AppendResult(dst, k.ID(), result)
	if err != nil {
		return protocol.AppendError(dst, k.ID(), err.Error())
	}
	return dst
}

func (h *handler) Panicked(k *Call, dst []byte, err error) []byte {
	if h.panicked != nil {
		h.panicked(k, err)
	}
	if len(k.ID()) == 0 {
		return dst
	}
	return k.Connection().Protocol().AppendError(dst, k.ID(), err.Error())
}

func (h *handler) Connected(k *Call) error {
	h.record("connected %s", k.Connection().ID())
	if h.connected != nil {
		return h.connected(k)
	}
	return nil
}

func (h *handler) Ended(*Connection, error) {}

func (h *handler) Methods() []string { return nil }

func (h *handler) Reconnected(k *Call) error {
	h.record("reconnected %s", k.Connection().ID())
	return nil
}

func (h *handler) Refreshed(k *Call) {
	h.record("refreshed %s %s", k.Connection().ID(), k.Identity().UserID)
	if h.refreshed != nil {
		h.refreshed(k)
	}
}

func (h *handler) Disconnected(k *Call, cause error) {
	h.record("disconnected %s: %v", k.Connection().ID(), cause)
	if h.disconnected != nil {
		h.disconnected(k, cause)
	}
}

func (h *handler) Describe(generic string, err error) string {
	if h.describe != nil {
		return h.describe(generic, err)
	}
	return generic + " Error: " + err.Error()
}

// gate returns a hub method that blocks, regardless of its context, until open is called.
func (e *env) gate() (m method, open func()) {
	gate := make(chan struct{})
	m = func(*Call, string) (any, error) {
		select {
		case <-gate:
		case <-e.done:
		}
		return "passed", nil
	}
	return m, sync.OnceFunc(func() { close(gate) })
}

// panickingError is an error whose Error method panics, as that of a nil pointer may.
type panickingError struct{}
