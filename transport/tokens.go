package transport

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Tokens holds the connections that clients can name: those that were negotiated and wait for their transport, and those that have it.
//
// A connection is found by its secret token, at the endpoint that has issued it, and never by its public id. One that gets no transport
// within Expiry is removed, with everything that was sent to it.
type Tokens struct {
	// Expiry is how long a negotiated connection waits for its transport.
	Expiry time.Duration
	// Limit is how many may wait at once. When it is reached, the one that has waited longest is removed.
	Limit int
	// AddressLimit is how many may wait at once that were negotiated from one remote address. Negative: no limit.
	AddressLimit int

	node   [4]byte
	joined bool     // there are other nodes, see Join
	keys   [][]byte // authenticate tokens for them; none: nothing does
	now    func() time.Time

	mu        sync.Mutex
	byToken   map[string]*reservation
	waiting   []*reservation   // by age; those that do not wait any more are skipped
	count     int              // of those that wait
	byAddress map[string]int   // count by remote address
	given     map[string]given // to other nodes, by token
	sweeping  bool             // a timer will call sweep
}

// reservation is a connection that clients can name.
type reservation struct {
	id, token string
	address   string
	endpoint  *Endpoint
	userID    string
	born      time.Time
	transport Transports // 0: none yet
	gone      bool
	fetcher   *fetcher // nil unless it has been polled, streamed or posted to

	resumable bool       // its client may come back over another WebSocket
	socket    *WebSocket // of a resumable connection; under the lock of Tokens
	resuming  bool       // a request is about to replace the socket
}

// NewTokens returns a Tokens with the default limits. All ids begin with the id of the node.
func NewTokens(node [4]byte) *Tokens {
	return &Tokens{
		Expiry: 15 * time.Second, Limit: 10000, AddressLimit: 1000,
		node: node, now: time.Now, byToken: map[string]*reservation{}, byAddress: map[string]int{}, given: map[string]given{},
	}
}

// NewID returns a connection id: 16 bytes in base64url, of which the first four name the node.
func (t *Tokens) NewID() string { return t.random(12) }

func (t *Tokens) random(n int) string {
	b := append(make([]byte, 0, 24), t.node[:]...)
	b = b[:len(b)+n]
	rand.Read(b[len(t.node):])
	return base64.RawURLEncoding.EncodeToString(b)
}

// reserve returns nil if too many connections wait that were negotiated from the same address.
func (t *Tokens) reserve(e *Endpoint, userID, remoteAddr string, idIsToken bool) *reservation {
	now := t.now()
	id := t.NewID()
	r := &reservation{id: id, token: t.newToken(id), address: AddressOf(remoteAddr), endpoint: e, userID: userID, born: now}
	if idIsToken {
		r.token = r.id
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.makeRoom(r.address, now) {
		return nil
	}
	t.add(r)
	return r
}

// makeRoom makes room for a connection that waits for its transport. It returns false if too many of its address do. The lock is held.
func (t *Tokens) makeRoom(address string, now time.Time) bool {
	t.expire(now)
	if t.AddressLimit >= 0 && t.byAddress[address] >= t.AddressLimit {
		return false
	}
	for t.count >= t.Limit {
		t.expire(t.waiting[0].born.Add(t.Expiry + 1))
	}
	return true
}

// add adds a connection that waits for its transport. The lock is held.
func (t *Tokens) add(r *reservation) {
	t.byToken[r.token] = r
	t.waiting = append(t.waiting, r)
	t.count++
	t.byAddress[r.address]++
	t.sweepLater()
}

func (t *Tokens) sweepLater() {
	if !t.sweeping {
		t.sweeping = true
		time.AfterFunc(t.Expiry, t.sweep)
	}
}

// AddressOf returns the part of a remote address by which clients are told apart: the host, or of IPv6 the /64 network.
func AddressOf(remoteAddr string) string {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		host = remoteAddr
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && !ip.Is4In6() {
		network, _ := ip.WithZone("").Prefix(64)
		return network.String()
	}
	return host
}

// sweep removes what has waited for too long. A timer calls it.
func (t *Tokens) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.expire(now)
	maps.DeleteFunc(t.given, func(_ string, g given) bool { return now.Sub(g.at) > givenTime })
	if t.sweeping = t.count > 0 || len(t.given) > 0; t.sweeping {
		time.AfterFunc(max(t.Expiry/16, time.Second), t.sweep)
	}
}

// expire removes what has waited for too long. The lock is held.
func (t *Tokens) expire(now time.Time) {
	n := 0
	for n < len(t.waiting) && (!t.waiting[n].waits() || now.Sub(t.waiting[n].born) > t.Expiry) {
		if r := t.waiting[n]; r.waits() {
			t.forget(r)
		}
		t.waiting[n] = nil
		n++
	}
	t.waiting = t.waiting[n:]
}

func (r *reservation) waits() bool { return r.transport == 0 && !r.gone }

// uncount takes a connection that does not wait any more off the counts. The lock is held.
func (t *Tokens) uncount(r *reservation) {
	t.count--
	if t.byAddress[r.address]--; t.byAddress[r.address] == 0 {
		delete(t.byAddress, r.address)
	}
}

// forget removes a connection. The lock is held.
func (t *Tokens) forget(r *reservation) {
	delete(t.byToken, r.token)
	if r.waits() {
		t.uncount(r)
	}
	r.gone = true
}

// find returns the connection of a token at the endpoint that has issued it.
func (t *Tokens) find(token string, e *Endpoint) *reservation {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.now())
	if r := t.byToken[token]; r != nil && r.endpoint == e {
		return r
	}
	return nil
}

// activate sets the transport of a connection. If there is one already, it returns that and false; if the connection has been removed, 0 and
// false.
func (t *Tokens) activate(r *reservation, transport Transports) (has Transports, activated bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.transport != 0 || r.gone {
		return r.transport, false
	}
	t.uncount(r)
	r.transport = transport
	return transport, true
}

// isGone reports whether a connection has been removed.
func (t *Tokens) isGone(r *reservation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.gone
}

// userOf returns the user that a connection belongs to.
func (t *Tokens) userOf(r *reservation) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.userID
}

// setUser gives a connection to the user that it belongs to now, and returns when the credentials expire. Of several refreshes at once, each sets the
// user of the last one.
func (t *Tokens) setUser(r *reservation, now Refreshed) (expires time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.userID, expires = now()
	return expires
}

// transportOf returns the transport of a connection, or 0.
func (t *Tokens) transportOf(r *reservation) Transports {
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.transport
}

// earlyOf returns the requests that have come before a WebSocket, or carry the connection, or nil.
func (t *Tokens) earlyOf(r *reservation) *fetcher {
	if r == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.fetcher
}

// fetcherOf returns the requests that carry a connection.
func (t *Tokens) fetcherOf(r *reservation) *fetcher {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.fetcher == nil {
		r.fetcher = &fetcher{endpoint: r.endpoint, reserved: r, reading: make(chan struct{}, 1), opened: make(chan struct{})}
	}
	return r.fetcher
}

// release removes a connection, unless it is nil.
func (t *Tokens) release(r *reservation) {
	if r == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !r.gone {
		t.forget(r)
	}
}
