package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/link"
)

// ---- before there is a transport

func TestWhatIsPostedBeforeTheTransport(t *testing.T) {
	for name, open := range map[string]func(g *guest) (got func(...string)){
		"polling": func(g *guest) func(...string) { g.begin(); return func(r ...string) { g.got(r...) } },
		"events":  func(g *guest) func(...string) { return g.stream().got },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, scene{})
			g := s.negotiate(nil)
			g.say(greeting[:5])
			g.say("")
			g.say(greeting[5:] + call("1", "Echo", 1)[:9])
			g.say(call("1", "Echo", 1)[9:])
			got := open(g)
			got("{}", strings.TrimSuffix(result("1", "1"), separator))
		})
	}
}

func TestHowMuchIsKeptBeforeTheTransport(t *testing.T) {
	const tooMuch = "At most 4096 bytes can be sent before the connection has its transport."
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	padding := strings.Repeat(" ", 4096-len(greeting)-1)
	first := greeting[:len(greeting)-2] + padding + greeting[len(greeting)-2:]
	require.Len(t, first, 4095)
	g.post(strings.Repeat("x", 4097)).is(t, http.StatusRequestEntityTooLarge, tooMuch)
	g.post(strings.Repeat("x", 1<<20)).is(t, http.StatusRequestEntityTooLarge, tooMuch)
	g.say(first)
	g.post("xx").is(t, http.StatusRequestEntityTooLarge, tooMuch)
	g.say("{")
	g.post("x").is(t, http.StatusRequestEntityTooLarge, tooMuch)
	g.say("")
	g.begin()
	g.say(strings.TrimPrefix(call("1", "Echo", 1), "{"))
	g.got("{}", strings.TrimSuffix(result("1", "1"), separator))
}

func TestABodyThatBreaksOffBeforeTheTransport(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	h := &host{t: t, addr: s.server.Listener.Addr().String()}
	conn := h.dialRaw()
	_, err := io.WriteString(conn.conn, "POST "+g.path()+" HTTP/1.1\r\nHost: host\r\nContent-Length: 100\r\n\r\nhalf")
	require.NoError(t, err)
	require.NoError(t, conn.conn.CloseWrite())
	response, err := http.ReadResponse(conn.r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	g.begin() // nothing of it is kept
	g.say(greeting)
	g.got("{}")
}

// dialRaw opens a connection that has said nothing.
func (h *host) dialRaw() *peer {
	h.t.Helper()
	p, response := h.request("OPTIONS /nowhere HTTP/1.1\r\nHost: host\r\n\r\n")
	_, err := io.Copy(io.Discard, response.Body)
	require.NoError(h.t, err)
	return p
}

// What is being posted when the connection gets its transport is not torn apart by what is posted later.
func TestABodyThatTheTransportComesUpon(t *testing.T) {
	d := newDoor(t)
	session := newScript()
	d.accept = func(link.Transport) (anySession, error) { return session, nil }
	token := d.negotiate(t)
	ctx := context.Background()
	long := strings.Repeat("a", 5000)
	body := &stepped{text: long, before: func() {
		get(t, d.knock(ctx, httptest.NewRecorder(), http.MethodGet, token, nil, nil))
	}}
	var other chan struct{}
	w := &deadlined{ResponseWriter: httptest.NewRecorder(), during: func() {
		other = d.knock(ctx, httptest.NewRecorder(), http.MethodPost, token, nil, strings.NewReader("bbb"))
		select {
		case <-other: // it came between
		case <-time.After(100 * time.Millisecond): // it has to wait
		}
	}}
	get(t, d.knock(ctx, w, http.MethodPost, token, nil, body))
	get(t, other)
	session.mu.Lock()
	defer session.mu.Unlock()
	require.Contains(t, []string{long + "bbb", "bbb" + long}, string(session.read))
}

// stepped does something before its last bytes.
type stepped struct {
	text   string
	before func()
}

func (r *stepped) Read(b []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	if len(r.text) < 3000 && r.before != nil {
		r.before()
		r.before = nil
	}
	n := copy(b[:min(len(b), 1000)], r.text)
	r.text = r.text[n:]
	return n, nil
}

// deadlined does something when its deadline is set.
type deadlined struct {
	http.ResponseWriter
	during func()
}

func (w *deadlined) SetWriteDeadline(time.Time) error {
	if during := w.during; during != nil {
		w.during = nil
		during()
	}
	return nil
}

// ---- bodies

func TestBodiesAreOneStream(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint(h2), func(t *testing.T) {
			s := newStage(t, scene{http2: h2})
			g, e := s.attend(nil)
			all := call("", "Note", "a") + call("", "Note", "é") + call("", "Note", "c")
			for i := range len(all) { // half messages, and half characters
				g.say(all[i : i+1])
			}
			g.say(all)
			for range 2 {
				for _, want := range []string{"a", "é", "c"} {
					require.Equal(t, want, get(t, s.notes))
				}
			}
			r, w := io.Pipe()
			done := g.posting(r)
			for i := range len(all) {
				_, err := io.WriteString(w, all[i:i+1])
				require.NoError(t, err)
			}
			for _, want := range []string{"a", "é", "c"} {
				require.Equal(t, want, get(t, s.notes), "before the body has ended")
			}
			select {
			case <-done:
				require.FailNow(t, "answered before the body has ended")
			default:
			}
			require.NoError(t, w.Close())
			get(t, done).is(t, http.StatusOK, "")
			g.say(call("1", "Echo", 1))
			e.got(strings.TrimSuffix(result("1", "1"), separator))
		})
	}
}

func TestBodiesAtOnce(t *testing.T) {
	s := newStage(t, scene{})
	g := s.visit(nil)
	const posters, each = 4, 50
	var all sync.WaitGroup
	for p := range posters {
		all.Go(func() {
			for i := range each {
				var b strings.Builder
				for k := range 20 {
					b.WriteString(call("", "Note", fmt.Sprintf("%d %d %d %s", p, i, k, strings.Repeat("x", 500))))
				}
				if a := g.try(context.Background(), http.MethodPost, g.path(), strings.NewReader(b.String()), nil); a.status != http.StatusOK {
					panic(fmt.Sprint(a))
				}
			}
		})
	}
	next := map[int]int{} // of each poster, and of the body that is under way
	body, count := -1, 0
	for range posters * each * 20 {
		var p, i, k int
		_, err := fmt.Sscanf(get(t, s.notes), "%d %d %d", &p, &i, &k)
		require.NoError(t, err)
		require.Equal(t, next[p], i*20+k, "poster %d", p)
		next[p]++
		if count > 0 {
			require.Equal(t, body, p, "two bodies are mixed")
		}
		if body, count = p, count+1; count == 20 {
			count = 0
		}
	}
	all.Wait()
	require.Empty(t, s.gone)
}

func TestABodyThatBreaksOff(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	h := &host{t: t, addr: s.server.Listener.Addr().String()}
	for _, body := range []string{"", call("", "Note", "a")} {
		conn := h.dialRaw()
		_, err := io.WriteString(conn.conn, "POST "+g.path()+" HTTP/1.1\r\nHost: host\r\nContent-Length: 1000\r\n\r\n"+body)
		require.NoError(t, err)
		require.NoError(t, conn.conn.CloseWrite())
		response, err := http.ReadResponse(conn.r, nil)
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		answer{status: response.StatusCode, header: response.Header, body: string(text)}.is(t, http.StatusBadRequest, "")
	}
	require.Equal(t, "a", get(t, s.notes))
	g.say(call("1", "Echo", 1))
	e.got(strings.TrimSuffix(result("1", "1"), separator))
}

func TestABodyAboveTheLimitOfMessages(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	g.say(strings.Repeat(call("", "Note", strings.Repeat("x", 1000)), 100)) // the limit is on a message
	for range 100 {
		get(t, s.notes)
	}
	g.post(call("1", "Note", strings.Repeat("x", 40000)))
	e.got(`{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`)
	e.eof()
	require.Error(t, s.disconnected())

	g = s.visit(nil)
	g.post(call("1", "Note", strings.Repeat("x", 40000)))
	g.got(`{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`)
	g.poll().over(t)
	require.Error(t, s.disconnected())
}

// flood is more than the budget takes while Wait runs.
func flood() string {
	return call("1", "Wait") + strings.Repeat(call("", "Note", strings.Repeat("x", 1000)), 2000)
}

func TestABodyWaitsForTheHub(t *testing.T) {
	for name, change := range map[string]func(*httptest.Server){"": func(*httptest.Server) {}, "of a server in a hurry": hurried} {
		overBoth(t, func(t *testing.T, h2 bool) {
			t.Run(strings.TrimSpace("body "+name), func(t *testing.T) {
				s := newStage(t, scene{http2: h2, server: change, HubOptions: hubsys.HubOptions{InboundLimit: 64 << 10}})
				g := s.visit(nil)
				done := g.posting(strings.NewReader(flood()))
				get(t, s.entered)
				other := g.posting(strings.NewReader(call("", "Note", "other")))
				select {
				case a := <-done:
					require.FailNow(t, "answered while the hub is busy", "%d %q", a.status, a.body)
				case <-other:
					require.FailNow(t, "one body has overtaken the other")
				case <-time.After(600 * time.Millisecond): // longer than the server is patient
				}
				s.open()
				get(t, done).is(t, http.StatusOK, "")
				get(t, other).is(t, http.StatusOK, "")
				for range 2000 {
					get(t, s.notes)
				}
				require.Equal(t, "other", get(t, s.notes))
			})
		})
	}
}

func TestTheConnectionEndsWhileABodyWaits(t *testing.T) {
	s := newStage(t, scene{HubOptions: hubsys.HubOptions{InboundLimit: 64 << 10}})
	g := s.visit(nil)
	done := g.posting(strings.NewReader(flood()))
	get(t, s.entered)
	other := g.posting(strings.NewReader(call("", "Note", "other")))
	select {
	case <-done:
		require.FailNow(t, "answered while the hub is busy")
	case <-time.After(100 * time.Millisecond):
	}
	g.remove().is(t, http.StatusAccepted, "")
	get(t, done).is(t, http.StatusNotFound, "")
	get(t, other).is(t, http.StatusNotFound, "")
	s.open() // what was received is executed
	require.NoError(t, s.disconnected())
}

// A body whose client goes on sending slowly, or has vanished, does not outlive its connection, nor does another that waits for it.
func TestTheConnectionEndsWhileABodyIsSlow(t *testing.T) {
	s := newStage(t, scene{})
	g := s.visit(nil)
	r, w := io.Pipe()
	defer w.Close()
	done := g.posting(r)
	_, err := io.WriteString(w, call("", "Note", "a"))
	require.NoError(t, err)
	require.Equal(t, "a", get(t, s.notes))
	other := g.posting(strings.NewReader(call("", "Note", "b")))
	g.remove().is(t, http.StatusAccepted, "")
	require.NoError(t, s.disconnected())
	for _, one := range []chan answer{done, other} {
		select {
		case a := <-one:
			require.True(t, errors.Is(a.err, io.EOF) || a.status == http.StatusNotFound, "%v", a)
		case <-time.After(3 * time.Second):
			require.FailNow(t, "a POST hangs behind its connection")
		}
	}
}

// ---- statuses

func TestPostsToAWebSocket(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	h := &host{t: t, addr: s.server.Listener.Addr().String()}
	p, response := h.request(upgrading(g.path(), nil))
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	g.post(greeting).is(t, http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
	g.remove().is(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodGet, g.path(), "", nil).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	p.handshake() // it has not suffered
	p.write(closing, true, "")
	p.closedWith(1000)
	p.eof()
	require.NoError(t, s.disconnected())
	s.until("it is forgotten", func() bool { return g.post("").status == http.StatusNotFound })
}

func TestPostsBeforeAWebSocket(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	g.say(greeting + call("1", "Echo", 1))
	h := &host{t: t, addr: s.server.Listener.Addr().String()}
	p, response := h.request(upgrading(g.path(), nil))
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	got, want := "", "{}"+separator+result("1", "1")
	for len(got) < len(want) {
		got += p.text()
	}
	require.Equal(t, want, got)
	p.write(closing, true, "")
	p.closedWith(1000)
	p.eof()
	s.until("it is forgotten", func() bool { return g.post("").status == http.StatusNotFound })
}

// A body that is answered is one that is kept.
func TestAPostToAConnectionThatExpiresMeanwhile(t *testing.T) {
	d := newDoor(t)
	d.Tokens.Limit = 1
	token := d.negotiate(t)
	w := httptest.NewRecorder()
	get(t, d.knock(context.Background(), w, http.MethodPost, token, nil, &stepped{text: "abc", before: func() { d.negotiate(t) }}))
	require.Equal(t, http.StatusNotFound, w.Code)
}

// Who negotiates and posts without end gets no more than the table has room for.
func TestWhatAStrangerMayLeaveBehind(t *testing.T) {
	d := newDoor(t)
	d.Tokens.Limit = 10
	var tokens []string
	for range 100 {
		token := d.negotiate(t)
		w := httptest.NewRecorder()
		get(t, d.knock(context.Background(), w, http.MethodPost, token, nil, strings.NewReader(strings.Repeat("x", 4096))))
		require.Equal(t, http.StatusOK, w.Code)
		tokens = append(tokens, token)
	}
	known := 0
	for _, token := range tokens {
		w := httptest.NewRecorder()
		get(t, d.knock(context.Background(), w, http.MethodPost, token, nil, nil))
		if w.Code == http.StatusOK {
			known++
		}
	}
	require.Equal(t, 10, known)
}

// When net/http has read a body, it goes on reading, to see whether the client goes away. The deadline that ends a POST may meet that
// read instead of the body's, and ends the context of every later request on the TCP connection.
func TestATCPConnectionDoesNotOutliveAPostThatWasCut(t *testing.T) {
	var atEnd atomic.Pointer[func()]
	s := newStage(t, scene{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = hookedBody{r.Body, &atEnd}
			next.ServeHTTP(w, r)
		})
	}})
	for range 20 {
		g, other := s.visit(nil), s.visit(nil)
		cut := func() {
			g.remove().is(t, http.StatusAccepted, "")
			require.NoError(t, s.disconnected())
		}
		atEnd.Store(&cut)
		g.post(call("", "Note", "x"))
		waits, _ := other.polling()
		other.say(call("1", "Echo", 1))
		require.Equal(t, result("1", "1"), get(t, waits).data(t))
	}
}

// hookedBody calls what is stored when all has been read.
type hookedBody struct {
	io.ReadCloser
	atEnd *atomic.Pointer[func()]
}

func (b hookedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		if hook := b.atEnd.Swap(nil); hook != nil {
			(*hook)()
		}
	}
	return n, err
}
