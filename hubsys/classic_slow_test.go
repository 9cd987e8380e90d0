package hubsys_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// slowClassics are a classicServer and clients that are connected with it by pipes, in which nothing is buffered, within a synctest bubble.
type slowClassics struct {
	t        *testing.T
	srv      *classicServer
	listener *pipeListener
}

// testSlowClassics runs a test within a bubble.
func testSlowClassics(t *testing.T, s classicConfig, test func(t *testing.T, b *slowClassics)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &slowClassics{t: t, listener: newPipeListener()}
		s.configure = func(server *httptest.Server) {
			server.Listener.Close()
			server.Listener = b.listener
		}
		b.srv = newClassicServer(t, s)
		test(t, b)
		require.NoError(t, shutdown(b.srv.sys))
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		require.NoError(t, b.srv.http.Config.Shutdown(ctx))
		time.Sleep(5 * time.Second) // protoactor counts dead letters in a goroutine that runs for a second
	})
}

// slowClassic is a client that has negotiated.
type slowClassic struct {
	*slowClassics
	transport, token string
}

func (b *slowClassics) negotiate(transport string) *slowClassic {
	b.t.Helper()
	return &slowClassic{b, transport, tokenOf(b.t, serveRequest(b.srv.sys, http.MethodGet, "/signalr/negotiate", "", nil))}
}

func (c *slowClassic) target(what string) string {
	query := url.Values{
		"clientProtocol": {"2.0"}, "connectionData": {`[{"name":"chat"}]`}, "frameId": {"1"}, "transport": {c.transport}, "connectionToken": {c.token},
	}
	return "/signalr" + what + "?" + query.Encode()
}

// request makes a request that is answered at once.
func (c *slowClassic) request(what string) string {
	c.t.Helper()
	w := serveRequest(c.srv.sys, http.MethodGet, c.target(what), "", nil)
	require.Equal(c.t, http.StatusOK, w.Code)
	return w.Body.String()
}

// begin makes a request over a pipe of its own.
func (c *slowClassic) begin(method, what, form string) net.Conn {
	c.t.Helper()
	p := newRawConn(c.t, c.listener.dial(c.t), c.target(what))
	p.mustWrite(p.request(method, "", "Content-Length: "+strconv.Itoa(len(form))+"\r\n") + form)
	return p.conn
}

// call begins a call of the action "large".
func (c *slowClassic) call() net.Conn {
	c.t.Helper()
	return c.begin(http.MethodPost, "/send", "data="+url.QueryEscape(`{"H":"chat","M":"Do","A":["large",[]],"I":1}`))
}

// slowReader takes a kilobyte a second.
type slowReader struct{ net.Conn }

func (r slowReader) Read(b []byte) (int, error) {
	time.Sleep(time.Second)
	return r.Conn.Read(b[:min(len(b), 1<<10)])
}

// slowBody returns the body of a response that is read slowly.
func slowBody(t *testing.T, conn net.Conn) *bufio.Reader {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(slowReader{conn}), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	return bufio.NewReader(response.Body)
}

const largeMessage, largeEnd = 100 << 10, "the end"

func large() string { return strings.Repeat("x", largeMessage) + largeEnd }

func answerLarge(context.Context, *classicHub, []json.RawMessage) (any, error) { return large(), nil }

// readSlowlyUntil reads until a text has come.
func readSlowlyUntil(t *testing.T, r *bufio.Reader, text string) {
	t.Helper()
	var all strings.Builder
	for !strings.Contains(all.String(), text) {
		line, err := r.ReadString(text[len(text)-1])
		all.WriteString(line)
		require.NoError(t, err, "after %d bytes", all.Len())
	}
}

// A client that takes what it is sent, though slowly, gets it: TransportSendTimeout is for those that take nothing.
func TestClassicClientsThatReadSlowlyGetLargeMessages(t *testing.T) {
	testSlowClassics(t, classicConfig{}, func(t *testing.T, b *slowClassics) {
		b.srv.handle("large", answerLarge)
		send := func() { require.NoError(t, b.srv.chat.Clients().All().Send(t.Context(), "large", large())) }
		for _, transport := range []string{"serverSentEvents", "foreverFrame"} {
			c := b.negotiate(transport)
			conn := c.begin(http.MethodGet, "/connect", "")
			r := slowBody(t, conn)
			readSlowlyUntil(t, r, `"M":[]}`)
			c.request("/start")
			send()
			readSlowlyUntil(t, r, largeEnd)
			c.request("/abort")
			require.NoError(t, conn.Close())
		}

		c := b.negotiate("longPolling")
		var connected struct{ C string }
		require.NoError(t, json.Unmarshal([]byte(c.request("/connect")), &connected))
		c.request("/start")
		send()
		r := slowBody(t, c.begin(http.MethodPost, "/poll", "messageId="+connected.C))
		readSlowlyUntil(t, r, largeEnd)

		r = slowBody(t, c.call())
		readSlowlyUntil(t, r, largeEnd)
	})
}

// Requests of clients that do not read end all the same: the answers to calls, and the ends of streams.
func TestRequestsOfClassicClientsThatDoNotReadEnd(t *testing.T) {
	const most = 12 * time.Second // TransportSendTimeout, and some time for the rest
	requireCut := func(t *testing.T, r io.Reader) {
		t.Helper()
		time.Sleep(most)
		_, err := io.Copy(io.Discard, r)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "the server has not given up")
	}
	testSlowClassics(t, classicConfig{}, func(t *testing.T, b *slowClassics) {
		b.srv.handle("large", answerLarge)
		c := b.negotiate("longPolling")
		response, err := http.ReadResponse(bufio.NewReader(c.call()), nil)
		require.NoError(t, err)
		requireCut(t, response.Body)

		for _, transport := range []string{"serverSentEvents", "foreverFrame"} {
			c = b.negotiate(transport)
			response, err = http.ReadResponse(bufio.NewReader(c.begin(http.MethodGet, "/connect", "")), nil)
			require.NoError(t, err)
			r := bufio.NewReader(response.Body)
			readSlowlyUntil(t, r, `"M":[]}`)
			_, err = r.Discard(r.Buffered())
			require.NoError(t, err)
			c.request("/abort")
			requireCut(t, r)
		}
	})
}
