package transport_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const (
	resumingHandshake = `{"protocol":"json","version":2}` + separator
	hubClose          = `{"type":7}` + separator
)

func sequence(number int) string {
	return fmt.Sprintf(`{"type":9,"sequenceId":%d}`, number) + separator
}

// resumableClient is a client over WebSockets that comes back.
type resumableClient struct {
	*testServer
	id, token string
	header    http.Header
}

func newResumingServer(t *testing.T, change ...func(*testConfig)) *testServer {
	c := testConfig{EndpointOptions: hubsys.EndpointOptions{AllowStatefulReconnects: true, Authenticate: authenticateByHeader}}
	for _, f := range change {
		f(&c)
	}
	return newTestServer(t, c)
}

// negotiateResumable negotiates a connection that may be resumed.
func (s *testServer) negotiateResumable(user string) *resumableClient {
	s.t.Helper()
	header := userHeader(user)
	a := s.do(http.MethodPost, "/test/negotiate?negotiateVersion=1&useStatefulReconnect=true", "", header)
	var n struct {
		UseStatefulReconnect          bool
		ConnectionID, ConnectionToken string
	}
	require.NoError(s.t, json.Unmarshal([]byte(a.body), &n))
	require.True(s.t, n.UseStatefulReconnect)
	return &resumableClient{testServer: s, id: n.ConnectionID, token: n.ConnectionToken, header: header}
}

// request asks for a WebSocket.
func (c *resumableClient) request(path string, header http.Header) (*rawConn, *http.Response) {
	c.t.Helper()
	h := &socketServer{t: c.t, addr: c.server.Listener.Addr().String()}
	return h.request(upgradeRequest(path, header))
}

// socket opens a WebSocket. The request before it may not have ended when it has been answered.
func (c *resumableClient) socket(query string) *rawConn {
	c.t.Helper()
	for {
		p, response := c.request("/test?id="+c.token+query, c.header)
		if response.StatusCode != http.StatusConflict {
			require.Equal(c.t, http.StatusSwitchingProtocols, response.StatusCode)
			return p
		}
	}
}

// status is how a request to resume is answered.
func (c *resumableClient) status(path string, header http.Header) int {
	c.t.Helper()
	p, response := c.request(path, header)
	defer p.conn.Close()
	return response.StatusCode
}

func (c *resumableClient) resumeStatus() int {
	c.t.Helper()
	return c.status("/test?id="+c.token, c.header)
}

// requireGone waits until nobody knows the connection.
func (c *resumableClient) requireGone() {
	c.t.Helper()
	c.eventually("the connection has gone", func() bool { return c.resumeStatus() == http.StatusNotFound })
}

// leave closes the last WebSocket, and waits until nobody knows the connection.
func (c *resumableClient) leave(p *rawConn) {
	c.t.Helper()
	p.end(closeFrame(1000, ""))
	require.NoError(c.t, c.requireDisconnected())
	c.requireGone()
}

// connectResumable opens a connection and completes its handshake.
func (s *testServer) connectResumable(user string) (*resumableClient, *rawConn) {
	s.t.Helper()
	c := s.negotiateResumable(user)
	p := c.socket("")
	p.write(text, true, resumingHandshake)
	require.Equal(s.t, "{}"+separator, p.text())
	return c, p
}

// echo makes a call and requires its result.
func (p *rawConn) echo(id string) {
	p.t.Helper()
	p.write(text, true, invocationJSON(id, "Echo", id))
	require.Equal(p.t, completionJSON(id, `"`+id+`"`), p.text())
}

// texts reads hub messages until there are n.
func (p *rawConn) texts(n int) (all []string) {
	p.t.Helper()
	for len(all) < n {
		all = append(all, strings.SplitAfter(strings.TrimSuffix(p.text(), separator), separator)...)
		all[len(all)-1] += separator
	}
	return all
}

func (p *rawConn) end(frame string) {
	p.t.Helper()
	p.write(closeOpcode, true, frame)
}

func TestAConnectionGoesOnOverAnotherWebSocket(t *testing.T) {
	s := newResumingServer(t)
	c, p := s.connectResumable("alice")
	p.echo("1")
	p.conn.Close()
	for i := range 5 {
		p = c.socket(fmt.Sprint("&q=", i))
		got := p.texts(1 + 1 + 2*i)
		require.Equal(t, sequence(1), got[0])
		require.Equal(t, completionJSON("1", `"1"`), got[1])
		p.write(text, true, sequence(2+2*i))
		p.write(text, true, invocationJSON("q", "Query")+invocationJSON("w", "Who"))
		require.Equal(t, []string{completionJSON("q", fmt.Sprintf(`"%d"`, i)), completionJSON("w", `"alice"`)}, p.texts(2), "of the new request")
		p.conn.Close()
	}
	require.Empty(t, s.disconnected)
	p = c.socket("")
	p.texts(12)
	c.leave(p)
}

// A new WebSocket wins over one that still lives.
func TestAWebSocketThatStillLivesIsCut(t *testing.T) {
	s := newResumingServer(t)
	c, first := s.connectResumable("")
	first.echo("1")
	first.write(text, true, `{"type":8,"sequenceId":1}`+separator)
	first.write(text, true, invocationJSON("2", "Echo", 2))
	require.Equal(t, completionJSON("2", "2"), first.text())
	second := c.socket("")
	require.Equal(t, []string{sequence(2), completionJSON("2", "2")}, second.texts(2))
	_, _, err := first.tryRead()
	require.Error(t, err, "without a close frame")
	second.write(text, true, sequence(3))
	second.echo("3")
	third := c.socket("")
	third.texts(3)
	c.leave(third)
	require.Empty(t, s.disconnected)
}

// What the former WebSocket has received in part is dropped, wherever it ends.
func TestHalfAMessageOfAFormerWebSocketIsDropped(t *testing.T) {
	s := newResumingServer(t)
	record := invocationJSON("2", "Echo", strings.Repeat("é", 700))
	frame := clientFrame(text, true, record)
	fragments := append(clientFrame(text, false, record[:100]), clientFrame(continuation, true, record[100:])...)
	for _, wire := range [][]byte{frame, fragments} {
		for _, cut := range []int{1, 3, 7, 8, 9, 100, 110, 111, 112, 700, len(wire) - 1, len(wire)} {
			c, p := s.connectResumable("")
			p.echo("1")
			p.writeRaw(wire[:cut])
			p.conn.Close()
			p = c.socket("")
			p.write(text, true, sequence(2)+record)
			got := p.texts(3)
			require.Equal(t, []string{sequence(1), completionJSON("1", `"1"`), completionJSON("2", `"`+strings.Repeat("é", 700)+`"`)}, got, cut)
			c.leave(p)
		}
	}
}

func TestOnlyItsUserResumesAConnection(t *testing.T) {
	s := newResumingServer(t)
	c, p := s.connectResumable("alice")
	require.Equal(t, http.StatusForbidden, c.status("/test?id="+c.token, userHeader("bob")))
	require.Equal(t, http.StatusForbidden, c.status("/test?id="+c.token, userHeader("")))
	require.Equal(t, http.StatusUnauthorized, c.status("/test?id="+c.token, http.Header{"User": {"alice"}, "Refuse": {"401"}}))
	p.echo("1") // nobody has cut it
	p.conn.Close()
	require.Equal(t, http.StatusForbidden, c.status("/test?id="+c.token, userHeader("bob")))
	p = c.socket("")
	p.texts(2)
	c.leave(p)
}

func TestOnlyAllowedOriginsResumeAConnection(t *testing.T) {
	s := newResumingServer(t, func(c *testConfig) { c.AllowedOrigins = []string{"https://app.example"} })
	c, p := s.connectResumable("")
	require.Equal(t, http.StatusForbidden, c.status("/test?id="+c.token, http.Header{"Origin": {"https://evil.example"}}))
	p.echo("1")
	p, response := c.request("/test?id="+c.token, http.Header{"Origin": {"https://app.example"}})
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	p.texts(2)
	c.leave(p)
}

// A connection is known at its endpoint, by its token.
func TestWhatIsNoConnectionToResume(t *testing.T) {
	s := newResumingServer(t)
	c, p := s.connectResumable("")
	p.conn.Close()
	for _, path := range []string{"/other?id=" + c.token, "/test?id=" + c.id, "/test?id=" + c.token + "&id=" + c.token, "/test?id=x"} {
		require.Equal(t, http.StatusNotFound, c.status(path, nil), path)
	}
	p = c.socket("")
	p.texts(1)
	c.leave(p)
}

// Where it was not negotiated, or the handshake is not over or of another version, there is no way back.
func TestConnectionsThatCannotBeResumed(t *testing.T) {
	s := newResumingServer(t)
	plain := s.negotiate(nil)
	c := &resumableClient{testServer: s, token: plain.token}
	p := c.socket("")
	p.write(text, true, resumingHandshake)
	p.text()
	require.Equal(t, http.StatusConflict, c.resumeStatus())
	p.conn.Close()
	require.NoError(t, s.requireDisconnected())
	c.requireGone()

	c = s.negotiateResumable("")
	p = c.socket("")
	s.eventually("it is refused without a handshake", func() bool { return c.resumeStatus() == http.StatusNoContent })
	p.handshake() // of version 1
	require.Equal(t, http.StatusNoContent, c.resumeStatus())
	p.echo("1")
	p.conn.Close()
	require.NoError(t, s.requireDisconnected())
	c.requireGone()
}

func TestAConnectionThatBeginsToCloseIsNotResumed(t *testing.T) {
	s := newResumingServer(t)
	c, p := s.connectResumable("")
	p.write(text, true, invocationJSON("1", "Wait"))
	receive(t, s.waiting)
	p.write(text, true, hubClose)
	p.write(ping, true, "")
	opcode, _ := p.read() // what the server has not read when another socket takes over is lost
	require.EqualValues(t, pong, opcode)
	s.eventually("it has begun to close", func() bool {
		status := c.resumeStatus() // the connection is not found any more if a socket has been lost before
		return status == http.StatusNoContent || status == http.StatusNotFound
	})
	s.releaseAll()
	require.NoError(t, s.requireDisconnected())
	p.conn.Close()
	c.requireGone()
}

// What ends a connection for good: a close frame of the client with any code, a frame that is wrong, an abort, a Close, text that is none.
func TestEndsThatLeaveNothingToResume(t *testing.T) {
	s := newResumingServer(t)
	for name, end := range map[string]func(p *rawConn){
		"close 1000":  func(p *rawConn) { p.end(closeFrame(1000, "")) },
		"close 1001":  func(p *rawConn) { p.end(closeFrame(1001, "bye")) },
		"close 4000":  func(p *rawConn) { p.end(closeFrame(4000, "")) },
		"empty close": func(p *rawConn) { p.end("") },
		"bad close":   func(p *rawConn) { p.end("x") },
		"bad opcode":  func(p *rawConn) { p.write(3, true, "x") },
		"no UTF-8":    func(p *rawConn) { p.write(text, true, "\xff") },
		"no JSON":     func(p *rawConn) { p.write(text, true, "{"+separator) },
		"abort":       func(p *rawConn) { p.write(text, true, invocationJSON("", "Abort")) },
		"hub close":   func(p *rawConn) { p.write(text, true, hubClose) },
		"a gap":       func(p *rawConn) { p.write(text, true, sequence(99)) },
	} {
		t.Run(name, func(t *testing.T) {
			c, p := s.connectResumable("")
			end(p)
			_ = s.requireDisconnected()
			p.conn.Close()
			c.requireGone()
		})
	}
}

func TestNothingIsResumedAfterAShutdown(t *testing.T) {
	s := newResumingServer(t)
	c, p := s.connectResumable("")
	lost, q := s.connectResumable("")
	q.conn.Close()
	go func() { _, _, _ = p.tryRead(); p.conn.Close() }()
	s.isShutdown = true
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	require.NoError(t, s.sys.Shutdown(ctx))
	require.NoError(t, s.requireDisconnected())
	require.NoError(t, s.requireDisconnected())
	c.requireGone()
	lost.requireGone()
}

// The reader of the former WebSocket may wait for a hub that waits for the client to come back.
func TestAReaderThatWaitsForAHubThatWaitsForItsClient(t *testing.T) {
	s := newResumingServer(t, func(c *testConfig) {
		c.smallBuffers, c.InboundLimit, c.OutboxLimit, c.StatefulReconnectBufferSize = true, 128<<10, 64<<10, 10<<20
	})
	c, p := s.connectResumable("")
	p.write(text, true, invocationJSON("1", "Flood", 1000, 10_000)) // which p does not read
	for i := range 1000 {
		p.write(text, true, invocationJSON(fmt.Sprint(2+i), "Echo", 1))
	}
	time.Sleep(time.Second) // until the reader waits
	p.conn.Close()
	q := c.socket("")
	require.True(t, strings.HasPrefix(q.text(), `{"type":9,`))
	go func() {
		for err := error(nil); err == nil; {
			_, _, err = q.tryRead()
		}
	}()
	c.leave(q)
}

// A client that stays away for more than 15 s has gone, and its token with it.
func TestAClientThatStaysAway(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 15 s")
	}
	s := newResumingServer(t)
	c, p := s.connectResumable("")
	p.conn.Close()
	began := time.Now()
	select {
	case err := <-s.disconnected:
		require.NoError(t, err)
	case <-time.After(3 * testTimeout):
		require.FailNow(t, "OnDisconnected has not run")
	}
	require.GreaterOrEqual(t, time.Since(began), 14*time.Second)
	c.requireGone()
}

func TestAConnectionGoesOnOverTLS(t *testing.T) {
	s := newResumingServer(t, func(c *testConfig) { c.http2 = true })
	s.client.Transport.(*http.Transport).TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	s.client.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
	s.client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	c := s.negotiateResumable("alice")
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	dial := func() *websocket.Conn {
		for {
			ws, response, err := websocket.Dial(ctx, s.server.URL+"/test?id="+c.token, &websocket.DialOptions{HTTPClient: s.client, HTTPHeader: c.header})
			if response == nil || response.StatusCode != http.StatusConflict {
				require.NoError(t, err)
				return ws
			}
		}
	}
	next := func(ws *websocket.Conn) string {
		_, b, err := ws.Read(ctx)
		require.NoError(t, err)
		return string(b)
	}
	ws := dial()
	require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(resumingHandshake)))
	require.Equal(t, "{}"+separator, next(ws))
	require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(invocationJSON("1", "Who"))))
	require.Equal(t, completionJSON("1", `"alice"`), next(ws))
	for i := range 4 {
		if i%2 == 0 {
			require.NoError(t, ws.CloseNow()) // else it is cut while it lives
		}
		again := dial()
		require.Equal(t, sequence(1)+completionJSON("1", `"alice"`), next(again))
		if i%2 == 1 {
			_, _, err := ws.Read(ctx)
			require.Error(t, err)
			_ = ws.CloseNow()
		}
		ws = again
	}
	require.Empty(t, s.disconnected)
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	require.NoError(t, s.requireDisconnected())
	s.eventually("the connection has gone", func() bool {
		return s.do(http.MethodPost, "/test?id="+c.token, "", c.header).status == http.StatusNotFound
	})
}

// With the option of the hub, the second result waits until the first one is acknowledged.
func TestAHubKeepsAsMuchAsItsOptionSays(t *testing.T) {
	s := newResumingServer(t, func(c *testConfig) { c.StatefulReconnectBufferSize = 1 })
	c, p := s.connectResumable("")
	p.echo("1")
	p.write(text, true, invocationJSON("2", "Echo", 2)+invocationJSON("", "Note", "done"))
	require.Equal(t, "done", receive(t, s.notes))
	p.write(ping, true, "?")
	opcode, payload := p.read()
	if opcode == text { // an Ack of what was received may have come before
		require.Contains(t, string(payload), `"type":8`)
		opcode, payload = p.read()
	}
	require.EqualValues(t, pong, opcode)
	require.Equal(t, "?", string(payload))
	p.write(text, true, `{"type":8,"sequenceId":1}`+separator)
	got := p.text()
	if strings.Contains(got, `"type":8`) {
		got = p.text()
	}
	require.Equal(t, completionJSON("2", "2"), got)
	c.leave(p)
}
