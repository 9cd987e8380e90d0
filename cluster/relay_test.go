package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// echo answers with the path, and with the body of a POST.
type echo struct{}

func (echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
		return
	}
	_, _ = io.WriteString(w, r.URL.RequestURI())
}

func withoutCertificate(t *testing.T) *tls.Config {
	c, err := keyTLS([][]byte{testKey}, "troupe")
	require.NoError(t, err)
	c.Certificates = nil
	return c
}

// relayOnce has a node relay one request, and returns the answer.
func relayOnce(t *testing.T, from *testNode, to backplane.NodeID, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	require.NoError(t, from.relay(to, w, httptest.NewRequest(http.MethodGet, path, nil)))
	return w.Code, w.Body.String()
}

// front is a server that has another node answer everything.
type front struct {
	*httptest.Server
	errors chan error
}

// relayed starts two nodes: one that serves, and another one with a server that relays everything to it.
func relayed(t *testing.T, serve http.HandlerFunc) (f *front, outer, owner *testNode) {
	t.Helper()
	owner = start(t, serve, nil)
	outer = start(t, nil, nil, owner)
	meet(t, outer, owner)
	return newFront(t, outer, owner.id), outer, owner
}

func newFront(t *testing.T, outer *testNode, owner backplane.NodeID) *front {
	f := &front{errors: make(chan error, 10)}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := r.URL.Query().Get("as"); user != "" {
			r = r.WithContext(backplane.WithUser(r.Context(), user))
		}
		if err := outer.relay(owner, w, r); err != nil {
			f.errors <- err
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
			http.Error(w, "gone", http.StatusNotFound)
		}
	}))
	f.Config.ReadTimeout, f.Config.WriteTimeout = 10*time.Second, time.Nanosecond // the second one would end any answer
	f.Config.ErrorLog = nil
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func (f *front) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	answer, err := f.Client().Get(f.URL + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(body)
}

func TestRequestsAreRelayedAsTheyAre(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	f, _, _ := relayed(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.Header().Set("Access-Control-Allow-Origin", "https://a.example")
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, "the body")
	})
	const target = "/chat%2Fx/./y//z?id=a;b&x=%zz&y=1"
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "DELETE %s HTTP/1.1\r\nHost: hub.example\r\nConnection: Troupe-User, keep-alive\r\nX-Forwarded-For: 10.1.1.1\r\nAuthorization: Bearer x\r\n"+
		"Troupe-User: c3B5\r\nTroupe-Remote: 1.1.1.1:1\r\nTroupe-Secure: 1\r\nCookie: c=1\r\n\r\n", target)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	assert.Equal(t, http.StatusConflict, answer.StatusCode)
	assert.Equal(t, "the body", string(body))
	assert.Equal(t, []string{"a=1", "b=2"}, answer.Header["Set-Cookie"])
	assert.Equal(t, "https://a.example", answer.Header.Get("Access-Control-Allow-Origin"))

	r := <-seen
	assert.Equal(t, http.MethodDelete, r.Method)
	assert.Equal(t, target, r.RequestURI)
	assert.Equal(t, "hub.example", r.Host)
	assert.Equal(t, "10.1.1.1", r.Header.Get("X-Forwarded-For"))
	assert.Equal(t, "Bearer x", r.Header.Get("Authorization"))
	assert.Equal(t, "c=1", r.Header.Get("Cookie"))
	assert.Equal(t, 2, r.ProtoMajor)
	assert.Nil(t, r.TLS, "the client did not use TLS")
	assert.True(t, strings.HasPrefix(r.RemoteAddr, "127.0.0.1:"), "that of the client: %s", r.RemoteAddr)
	for name := range r.Header {
		assert.False(t, strings.HasPrefix(name, "Troupe-"), name)
	}
	_, ok := backplane.User(r.Context())
	assert.False(t, ok, "a client says nothing about its user")
}

func TestUsersAndTLSAreHandedOn(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	_, outer, owner := relayed(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	f := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, outer.relay(owner.id, w, r.WithContext(backplane.WithUser(r.Context(), "ádá\n"))))
	}))
	defer f.Close()
	answer, err := f.Client().Get(f.URL)
	require.NoError(t, err)
	answer.Body.Close()
	r := <-seen
	user, ok := backplane.User(r.Context())
	assert.True(t, ok)
	assert.Equal(t, "ádá\n", user)
	require.NotNil(t, r.TLS)
	assert.Empty(t, r.TLS.PeerCertificates)
}

func TestAnswersAreStreamed(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	f, _, _ := relayed(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		for text := range next {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
		}
	})
	go func() { next <- "" }()
	answer, err := f.Client().Get(f.URL)
	require.NoError(t, err)
	defer answer.Body.Close()
	buffer := make([]byte, 100)
	for i := range 5 {
		text := fmt.Sprintf("data: %d\n\n", i)
		next <- text
		n, err := answer.Body.Read(buffer)
		require.NoError(t, err)
		assert.Equal(t, text, string(buffer[:n]))
	}
	close(next)
	_, err = answer.Body.Read(buffer)
	assert.Equal(t, io.EOF, err)
}

func TestBodiesAreRelayed(t *testing.T) {
	t.Parallel()
	f, _, _ := relayed(t, echo{}.ServeHTTP)
	body := make([]byte, 1<<20)
	rand.Read(body)
	for _, chunked := range []bool{false, true} {
		var from io.Reader = bytes.NewReader(body)
		if chunked {
			from = io.MultiReader(from)
		}
		answer, err := f.Client().Post(f.URL, "application/octet-stream", from)
		require.NoError(t, err)
		got, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		assert.True(t, bytes.Equal(body, got))
	}
}

// Some clients ask for HTTP/2 with their requests, and take an answer without it.
func TestARequestThatAsksForAnotherProtocolKeepsItsBody(t *testing.T) {
	f, _, _ := relayed(t, echo{}.ServeHTTP)
	r, err := http.NewRequest(http.MethodPost, f.URL+"/", strings.NewReader("a body"))
	require.NoError(t, err)
	r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
	r.Header.Set("Upgrade", "h2c")
	r.Header.Set("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
	answer, err := f.Client().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, "a body", string(body))
}

// More requests can wait at once than one connection of HTTP/2 has room for.
func TestManyRequestsAreRelayedAtOnce(t *testing.T) {
	t.Parallel()
	const n = 300
	var waiting atomic.Int32
	letGo := make(chan struct{})
	_, outer, owner := relayed(t, func(w http.ResponseWriter, r *http.Request) {
		if waiting.Add(1) == n {
			close(letGo)
		}
		select {
		case <-letGo:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			w := httptest.NewRecorder()
			assert.NoError(t, outer.relay(owner.id, w, httptest.NewRequest(http.MethodGet, fmt.Sprint("/", i), nil)))
			assert.Equal(t, fmt.Sprint("/", i), w.Body.String())
		})
	}
	all.Wait()
}

func TestAnswersThatBreakOffDoSoForClients(t *testing.T) {
	t.Parallel()
	f, _, _ := relayed(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	answer, err := f.Client().Get(f.URL)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, "half", string(body))
}

// Headers of an answer replace those that a middleware has set.
func TestHeadersAreNotDoubled(t *testing.T) {
	t.Parallel()
	_, outer, owner := relayed(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://owner.example")
		w.Header().Set("Vary", "Cookie")
	})
	w := httptest.NewRecorder()
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Vary", "Origin")
	w.Header().Set("X-Middleware", "1")
	require.NoError(t, outer.relay(owner.id, w, httptest.NewRequest(http.MethodGet, "/", nil)))
	assert.Equal(t, []string{"https://owner.example"}, w.Result().Header["Access-Control-Allow-Origin"])
	assert.Equal(t, []string{"Origin", "Cookie"}, w.Result().Header["Vary"])
	assert.Equal(t, []string{"1"}, w.Result().Header["X-Middleware"])
}

func TestClientsThatGoCancelTheirRequests(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan error, 1)
	f, _, _ := relayed(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	})
	ctx, cancel := context.WithCancel(t.Context())
	in, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	go func() {
		<-began
		cancel()
	}()
	_, err := f.Client().Do(in)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Error(t, <-ended)
}

func TestRequestsAreRelayedOnce(t *testing.T) {
	t.Parallel()
	var owner, outer *testNode
	f, outer, owner := relayed(t, func(w http.ResponseWriter, r *http.Request) {
		if err := owner.relay(outer.id, w, r); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
		}
	})
	answer, body := f.get(t, "/")
	assert.Equal(t, http.StatusNotFound, answer.StatusCode)
	assert.Contains(t, body, errRelayed.Error())
}

func TestOwnersThatHaveGoneAnswerNothing(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{}, 10)
	f, outer, owner := relayed(t, func(_ http.ResponseWriter, r *http.Request) {
		waiting <- struct{}{}
		<-r.Context().Done()
	})
	owner.relays.shut() // it is still a member
	answer, body := f.get(t, "/")
	assert.Equal(t, http.StatusNotFound, answer.StatusCode)
	assert.Equal(t, "gone\n", body)
	assert.ErrorContains(t, <-f.errors, "relaying to node "+owner.id.String())
	assert.Equal(t, http.StatusNotFound, upgradeStatus(t, f))
	assert.Error(t, <-f.errors)

	outer.wire.left(owner.id)
	answer, _ = f.get(t, "/")
	assert.Equal(t, http.StatusNotFound, answer.StatusCode)
	assert.ErrorIs(t, <-f.errors, errGone)
}

// A request that an owner has taken, and that goes while it waits, is one that has not been answered.
func TestOwnersThatGoMeanwhile(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{})
	f, outer, owner := relayed(t, func(_ http.ResponseWriter, r *http.Request) {
		close(waiting)
		<-r.Context().Done()
	})
	go func() {
		<-waiting
		outer.wire.left(owner.id) // is no reason to give up
		owner.relays.shut()
	}()
	answer, _ := f.get(t, "/")
	assert.Equal(t, http.StatusNotFound, answer.StatusCode)
	assert.ErrorContains(t, <-f.errors, "relaying to node "+owner.id.String())
}

func upgradeStatus(t *testing.T, f *front) int {
	t.Helper()
	_, answer, err := websocket.Dial(t.Context(), f.URL, nil)
	require.Error(t, err)
	require.NotNil(t, answer)
	return answer.StatusCode
}

func TestWebSocketsAreRelayed(t *testing.T) {
	t.Parallel()
	f, _, _ := relayed(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"p"}})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if string(message) == "close" {
				_ = conn.Close(4000, "as asked for")
				return
			}
			_ = conn.Write(r.Context(), kind, message)
		}
	})
	conn, _, err := websocket.Dial(t.Context(), f.URL, &websocket.DialOptions{Subprotocols: []string{"p"}})
	require.NoError(t, err)
	defer conn.CloseNow()
	assert.Equal(t, "p", conn.Subprotocol())
	conn.SetReadLimit(-1)
	for _, size := range []int{1, 4095, 4096, 4097, 1 << 20} {
		sent := make([]byte, size)
		rand.Read(sent)
		require.NoError(t, conn.Write(t.Context(), websocket.MessageBinary, sent))
		_, got, err := conn.Read(t.Context())
		require.NoError(t, err)
		assert.True(t, bytes.Equal(sent, got))
	}
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("close")))
	_, _, err = conn.Read(t.Context())
	assert.EqualValues(t, 4000, websocket.CloseStatus(err))
	assert.Empty(t, f.errors)
}

func TestRefusedUpgradesAreRelayed(t *testing.T) {
	t.Parallel()
	f, _, _ := relayed(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "in use", http.StatusConflict) })
	assert.Equal(t, http.StatusConflict, upgradeStatus(t, f))
	assert.Empty(t, f.errors)
}

// raw is a handler of upgrades that speaks no protocol.
func raw(use func(net.Conn, *bufio.ReadWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		use(conn, both)
	}
}

func dialRaw(t *testing.T, f *front, early string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	address, err := url.Parse(f.URL)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", address.Host)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "GET /raw HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n%s", early)
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
	require.Equal(t, "websocket", answer.Header.Get("Upgrade"))
	return conn.(*net.TCPConn), reader
}

// What a client has sent before it goes reaches the owner, even while the owner sends.
func TestWhatClientsSendBeforeTheyGoArrives(t *testing.T) {
	t.Parallel()
	got := make(chan int64, 1)
	f, _, _ := relayed(t, raw(func(conn net.Conn, both *bufio.ReadWriter) {
		defer conn.Close()
		go func() {
			for {
				if _, err := conn.Write(make([]byte, 10_000)); err != nil {
					return
				}
			}
		}()
		n, _ := io.Copy(io.Discard, both)
		got <- n
	}))
	const size = 1 << 20
	conn, _ := dialRaw(t, f, "early ")
	_, err := conn.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	assert.EqualValues(t, size+len("early "), <-got)
}

func TestWhatOwnersSendBeforeTheyEndArrives(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	f, _, _ := relayed(t, raw(func(conn net.Conn, _ *bufio.ReadWriter) {
		_, _ = conn.Write(make([]byte, size))
		_ = conn.(*tls.Conn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}))
	conn, reader := dialRaw(t, f, "")
	n, err := io.Copy(io.Discard, reader)
	require.NoError(t, err)
	assert.EqualValues(t, size, n)
	conn.Close()
}

func TestRelayedConnectionsEndWithTheirNode(t *testing.T) {
	t.Parallel()
	f, outer, _ := relayed(t, raw(func(conn net.Conn, both *bufio.ReadWriter) {
		_, _ = io.Copy(io.Discard, both)
		conn.Close()
	}))
	_, reader := dialRaw(t, f, "")
	outer.shut()
	_, err := reader.ReadByte()
	assert.Error(t, err)
}

func TestStrangersCannotRelay(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	owner := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }), nil)
	address := owner.members.addresses[2].String()
	other, err := keyTLS([][]byte{bytes.Repeat([]byte("x"), leastKey)}, "troupe")
	require.NoError(t, err)
	own, err := keyTLS([][]byte{testKey}, "troupe")
	require.NoError(t, err)
	try := func(c *tls.Config) error {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
		answer, err := client.Get("https://" + address)
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	assert.Error(t, try(other))
	assert.Error(t, try(withoutCertificate(t)))
	answer, err := http.Get("http://" + address)
	if err == nil {
		answer.Body.Close()
		assert.Equal(t, http.StatusBadRequest, answer.StatusCode)
	}
	assert.Zero(t, served.Load())
	assert.NoError(t, try(own))
	assert.EqualValues(t, 1, served.Load())
}

func TestInsecureNodesRelay(t *testing.T) {
	t.Parallel()
	insecure := func(c *Config) { c.Key, c.Insecure = nil, true }
	owner := start(t, echo{}, insecure)
	outer := start(t, nil, insecure, owner)
	meet(t, outer, owner)
	talk(t, outer, owner)
	status, body := relayOnce(t, outer, owner.id, "/a?b")
	assert.Equal(t, "200 /a?b", fmt.Sprint(status, " ", body))
}

// Stop waits for what other nodes are being answered.
func TestStopAnswersRequestsFirst(t *testing.T) {
	t.Parallel()
	began, answer := make(chan struct{}), make(chan struct{})
	f, _, owner := relayed(t, func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-answer
		_, _ = io.WriteString(w, "answered")
	})
	stopped := make(chan error, 1)
	go func() {
		<-began
		go func() { stopped <- owner.stop(context.Background()) }()
		<-owner.members.ctx.Done()
		close(answer)
	}()
	_, body := f.get(t, "/")
	assert.Equal(t, "answered", body)
	assert.NoError(t, <-stopped)
}
