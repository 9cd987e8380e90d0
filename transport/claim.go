package transport

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/troupe-go/troupe/internal/metric"
)

// How a connection is opened by another node than the one that it was negotiated with. It lives where the request arrives that opens it: the node
// that has issued its token gives it away, once.

// given is a connection that another node has opened.
type given struct {
	to [4]byte
	at time.Time
}

// givenTime is how long a node remembers whom it has given a connection: until all nodes know where it is, which is when its handshake is answered.
const givenTime = time.Minute

// Sizes of the parts of a token that other nodes understand.
const (
	idSize     = 16
	secretSize = 16
	macSize    = 8
)

// Join has tokens name their connections, so that other nodes can find these. The first of keys, which all nodes have, authenticates tokens, and all of
// them are believed; nil: nothing does, and a token that was made up costs a question to another node.
func (t *Tokens) Join(keys [][]byte) { t.joined, t.keys = true, keys }

// newToken returns a secret token for a connection.
func (t *Tokens) newToken(id string) string {
	if !t.joined {
		return t.random(secretSize)
	}
	b := make([]byte, idSize+secretSize, idSize+secretSize+macSize)
	_, _ = base64.RawURLEncoding.Decode(b[:idSize], []byte(id))
	rand.Read(b[idSize:])
	if len(t.keys) > 0 {
		b = append(b, mac(t.keys[0], b)...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func mac(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)[:macSize]
}

// Read returns the id of the connection that a token names, and the node that has issued it. It returns false for what is no token of the cluster.
// A token of version 0 of the negotiation is the id.
func (t *Tokens) Read(token string) (id string, issuer [4]byte, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < idSize {
		return "", issuer, false
	}
	if len(b) != idSize {
		named := b[:min(len(b), idSize+secretSize)]
		if len(named) != idSize+secretSize || !t.isAuthentic(named, b[len(named):]) {
			return "", issuer, false
		}
	}
	return base64.RawURLEncoding.EncodeToString(b[:idSize]), [4]byte(b), true
}

// isAuthentic reports whether a node has authenticated what a token names.
func (t *Tokens) isAuthentic(named, by []byte) bool {
	for _, key := range t.keys {
		if hmac.Equal(by, mac(key, named)) {
			return true
		}
	}
	return len(t.keys) == 0 && len(by) == 0
}

// Has reports whether a connection is here, at whatever endpoint.
func (t *Tokens) Has(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byToken[token] != nil
}

// Claimed is a connection that was negotiated with another node.
type Claimed struct {
	ID, UserID string
	Address    string // that it was negotiated from
	Resumable  bool
	Early      []byte // what its client has sent already
}

// Claim gives a connection that waits for its transport to another node, if that wants to have it. Otherwise it returns the node that has the
// connection, and false if none is known.
func (e *Endpoint) Claim(token string, wants bool, to [4]byte) (claimed *Claimed, has [4]byte, ok bool) {
	t := e.Tokens
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.now())
	if g, ok := t.given[token]; ok {
		return nil, g.to, true
	}
	r := t.byToken[token]
	if r == nil || r.endpoint != e {
		return nil, has, false
	}
	if !wants || !r.waits() {
		return nil, t.node, true
	}
	c := &Claimed{ID: r.id, UserID: r.userID, Address: r.address, Resumable: r.resumable}
	if q := r.fetcher; q != nil {
		select {
		case q.reading <- struct{}{}:
			c.Early = q.early
			<-q.reading
		default: // a POST is being read
			return nil, t.node, true
		}
	}
	t.forget(r)
	t.given[token] = given{to, t.now()}
	t.sweepLater()
	return c, has, true
}

// Adopt adds a connection that another node has given to this one. If too many wait here that were negotiated from its address, it is lost, as one
// that could not be negotiated.
func (e *Endpoint) Adopt(token string, c Claimed) {
	t := e.Tokens
	r := &reservation{id: c.ID, token: token, address: c.Address, endpoint: e, userID: c.UserID, born: t.now(), resumable: c.Resumable}
	if len(c.Early) > 0 {
		t.fetcherOf(r).early = c.Early
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.makeRoom(r.address, r.born) {
		e.Limits.Reach(metric.PendingOfAddress)
		return
	}
	t.add(r)
}
