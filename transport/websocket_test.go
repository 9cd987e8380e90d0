package transport_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// An invalid WebSocket request is handled as a GET of another transport, which needs an ID.
func TestInvalidWebSocketRequests(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	good := upgradeRequest("/echo", nil)
	for name, raw := range map[string]string{
		"no key":              strings.Replace(good, "Sec-WebSocket-Key", "X-Key", 1),
		"a key that is short": strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 1),
		"a key that is long":  strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTE=", 1),
		"a key that is none":  strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "not base64", 1),
		"two keys":            strings.Replace(good, "\r\n\r\n", "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 1),
		"an old version":      strings.Replace(good, "Version: 13", "Version: 8", 1),
		"no version":          strings.Replace(good, "Sec-WebSocket-Version", "X-Version", 1),
		"no Upgrade":          strings.Replace(good, "Upgrade: websocket", "Upgrade: h2c", 1),
		"no Connection":       strings.Replace(good, "Connection: Upgrade", "Connection: keep-alive", 1),
		"HTTP/1.0":            strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1),
		"another method":      strings.Replace(good, "GET", "POST", 1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, good, raw)
			_, response := h.request(raw)
			defer response.Body.Close()
			require.Equal(t, http.StatusBadRequest, response.StatusCode)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, "Connection ID required", string(body))
			require.Equal(t, "text/plain", response.Header.Get("Content-Type"))
		})
	}
}

func TestTheAnswerToAnUpgrade(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	p, response := h.request(upgradeRequest("/echo?id=&x=1", http.Header{
		"Connection": {"keep-alive, UPGRADE"}, "Upgrade": {"WebSocket"},
		"Sec-WebSocket-Protocol": {"json"}, "Sec-WebSocket-Extensions": {"permessage-deflate; client_max_window_bits"},
	}))
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", response.Header.Get("Sec-WebSocket-Accept"))
	require.Empty(t, response.Header.Values("Sec-WebSocket-Protocol"))
	require.Empty(t, response.Header.Values("Sec-WebSocket-Extensions"))
	p.handshake()
}

// statusWriter is a ResponseWriter of a middleware that wants to know statuses.
type statusWriter struct {
	http.ResponseWriter
	statuses chan<- int
}

func (w statusWriter) WriteHeader(status int) {
	w.statuses <- status
	w.ResponseWriter.WriteHeader(status)
}

func (w statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// What middleware has set is in the answer, except for what makes it an upgrade, and a ResponseWriter of middleware sees the status.
func TestTheAnswerToAnUpgradeBehindMiddleware(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		t.Run(fmt.Sprint("wrapped: ", wrapped), func(t *testing.T) {
			h := newSocketServer(t, hubsys.EndpointOptions{Subprotocol: func([]string) string { return "B" }}, hubsys.HubOptions{})
			statuses := make(chan int, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Connection"] = []string{"keep-alive", "close"}
				w.Header()["X-Middleware"] = []string{"a", "b\r\nX-Forged: c"}
				if wrapped {
					w = statusWriter{w, statuses}
				}
				h.sys.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			h.addr = server.Listener.Addr().String()
			p, response := h.request(upgradeRequest("/echo", http.Header{"Sec-WebSocket-Protocol": {"a, b"}}))
			require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
			require.Equal(t, []string{"Upgrade"}, response.Header["Connection"])
			require.Equal(t, []string{"websocket"}, response.Header["Upgrade"])
			require.Equal(t, []string{"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, response.Header["Sec-Websocket-Accept"])
			require.Equal(t, []string{"b"}, response.Header["Sec-Websocket-Protocol"])
			require.Equal(t, []string{"a", "b  X-Forged: c"}, response.Header["X-Middleware"])
			if wrapped {
				require.Equal(t, http.StatusSwitchingProtocols, <-statuses)
			}
			p.handshake()
		})
	}
}

func TestCloseCodesOfClients(t *testing.T) {
	for _, test := range []struct {
		payload string
		answer  uint16
	}{
		{"", 1000},
		{closeFrame(1000, ""), 1000},
		{closeFrame(1000, "bye"), 1000},
		{closeFrame(1000, strings.Repeat("x", 123)), 1000},
		{closeFrame(1001, "going away"), 1000},
		{closeFrame(1011, ""), 1000},
		{closeFrame(3000, ""), 1000},
		{closeFrame(4999, "ä"), 1000},
		// These codes are meant for other cases, but are accepted from clients.
		{closeFrame(1002, ""), 1000},
		{closeFrame(1007, ""), 1000},
		{closeFrame(1009, ""), 1000},
		// These codes must not be sent.
		{closeFrame(0, ""), 1002},
		{closeFrame(999, ""), 1002},
		{closeFrame(1004, ""), 1002},
		{closeFrame(1005, ""), 1002},
		{closeFrame(1006, ""), 1002},
		{closeFrame(1015, ""), 1002},
		{closeFrame(2999, ""), 1002},
		{closeFrame(5000, ""), 1002},
		{"\x03", 1002},
		{closeFrame(1000, "\xff"), 1002},
	} {
		t.Run(fmt.Sprintf("%q", test.payload), func(t *testing.T) {
			h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
			p := h.dial()
			p.write(text, true, invocationJSON("1", "Echo", 1))
			require.Equal(t, completionJSON("1", "1"), p.text())
			p.write(closeOpcode, true, test.payload)
			p.requireClose(test.answer)
			p.requireEOF()
			if cause := h.requireDisconnected(); test.answer == 1000 {
				require.NoError(t, cause)
			} else {
				require.Error(t, cause)
			}
		})
	}
}

func TestFramesThatBreakTheProtocol(t *testing.T) {
	reserved := func(bit byte) []byte {
		b := clientFrame(text, true, "x")
		b[0] |= bit
		return b
	}
	for name, raw := range map[string][]byte{
		"reserved bit 1":               reserved(0x40),
		"reserved bit 2":               reserved(0x20),
		"reserved bit 3":               reserved(0x10),
		"an opcode for data":           clientFrame(3, true, ""),
		"an opcode for control":        clientFrame(11, true, ""),
		"a ping too long":              clientFrame(ping, true, strings.Repeat("x", 126)),
		"half a ping":                  clientFrame(ping, false, ""),
		"a continuation of nothing":    clientFrame(continuation, true, "x"),
		"a message within a message":   append(clientFrame(text, false, "x"), clientFrame(text, true, "x")...),
		"a close frame in two":         clientFrame(closeOpcode, false, closeFrame(1000, "")),
		"a close frame that is longer": clientFrame(closeOpcode, true, closeFrame(1000, strings.Repeat("x", 124))),
	} {
		t.Run(name, func(t *testing.T) {
			h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
			p := h.dial()
			p.writeRaw(raw)
			p.requireClose(1002)
			p.requireEOF()
			require.Error(t, h.requireDisconnected())
		})
	}
}

// A client that does not mask its frames is disconnected, with or without a close frame.
func TestAnUnmaskedFrameEndsTheConnection(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	p := h.dial()
	p.writeRaw([]byte{0x81, 1, 'x'})
	if opcode, _, err := p.tryRead(); err == nil {
		require.EqualValues(t, closeOpcode, opcode)
	}
	_ = h.requireDisconnected()
}

func TestTextMustBeUTF8(t *testing.T) {
	record := func(s string) string {
		return `{"type":1,"invocationId":"1","target":"Count","arguments":["` + s + `"]}` + separator
	}
	long := strings.Repeat("ä€😀", 2000)
	type part struct {
		opcode byte
		fin    bool
		text   string
	}
	for name, test := range map[string]struct {
		parts []part
		want  string // the result; empty: the connection is closed with 1007
	}{
		"right":                         {[]part{{text, true, record("ä€😀")}}, "9"},
		"right and long":                {[]part{{text, true, record(long)}}, "18000"},
		"a character in two fragments":  {[]part{{text, false, record("😀")[:61]}, {continuation, true, record("😀")[61:]}}, "4"},
		"wrong":                         {[]part{{text, true, record("\xff")}}, ""},
		"half a character":              {[]part{{text, true, "\xe2\x82"}}, ""},
		"half a character, in two":      {[]part{{text, false, "\xe2"}, {continuation, true, "\x82"}}, ""},
		"half a character, then no end": {[]part{{text, false, "\xe2"}, {continuation, true, ""}}, ""},
		"too long a form":               {[]part{{text, true, "\xc0\xaf"}}, ""},
		"a surrogate":                   {[]part{{text, true, "\xed\xa0\x80"}}, ""},
		"beyond Unicode":                {[]part{{text, true, "\xf4\x90\x80\x80"}}, ""},
		"wrong, far behind":             {[]part{{text, true, strings.Repeat("x", 10000) + "\xff"}}, ""},
		"a character in two messages":   {[]part{{text, true, record("😀")[:62]}, {text, true, record("😀")[62:]}}, ""},
		"binary is not looked at":       {[]part{{binaryFrame, true, record("😀")[:62]}, {binaryFrame, true, record("😀")[62:]}}, "4"},
		"empty messages":                {[]part{{text, true, ""}, {text, false, ""}, {continuation, true, ""}, {text, true, record("")}}, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
			p := h.dial()
			var frames []byte // in one write, because the server may close after the first frame
			for _, part := range test.parts {
				frames = append(frames, clientFrame(part.opcode, part.fin, part.text)...)
			}
			p.writeRaw(frames)
			if test.want != "" {
				require.Equal(t, completionJSON("1", test.want), p.text())
				return
			}
			p.requireClose(1007)
			p.requireEOF()
			require.EqualError(t, h.requireDisconnected(), "a WebSocket text message is not UTF-8")
		})
	}
}

// Records may be split over WebSocket messages, frames and opcodes in any way.
func TestRecordsMaySpanWebSocketMessages(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	all := handshakeJSON + invocationJSON("1", "Echo", "one") + invocationJSON("2", "Echo", "two")
	p := h.open("/echo")
	for i := range len(all) {
		switch i % 3 {
		case 0:
			p.write(text, true, all[i:i+1])
		case 1:
			p.write(binaryFrame, true, all[i:i+1])
		default:
			p.write(text, false, "")
			p.write(ping, true, "")
			p.write(continuation, true, all[i:i+1])
		}
	}
	var got string
	for !strings.HasSuffix(got, completionJSON("2", `"two"`)) {
		if opcode, payload := p.read(); opcode != pong {
			require.EqualValues(t, text, opcode)
			got += string(payload)
		}
	}
	require.Equal(t, "{}"+separator+completionJSON("1", `"one"`)+completionJSON("2", `"two"`), got)
}

// A record is handled before its WebSocket message has ended.
func TestARecordIsAnsweredBeforeItsMessageEnds(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	p := h.dial()
	require.NoError(t, p.conn.SetDeadline(time.Now().Add(3*time.Second)))
	p.write(text, false, invocationJSON("1", "Echo", 1))
	require.Equal(t, completionJSON("1", "1"), p.text())
	p.write(continuation, true, invocationJSON("2", "Echo", 2))
	require.Equal(t, completionJSON("2", "2"), p.text())
}

func TestPingsAreAnswered(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	p := h.open("/echo")
	for _, payload := range []string{"", "x", "\x00\xff", strings.Repeat("x", 125)} {
		p.write(ping, true, payload)
		opcode, got := p.read()
		require.EqualValues(t, pong, opcode)
		require.Equal(t, payload, string(got))
	}
	p.write(pong, true, "unasked")
	p.handshake()
	// A ping may come between two fragments.
	p.write(text, false, invocationJSON("1", "Echo", 1)[:10])
	p.write(ping, true, "between")
	_, got := p.read()
	require.Equal(t, "between", string(got))
	p.write(continuation, true, invocationJSON("1", "Echo", 1)[10:])
	require.Equal(t, completionJSON("1", "1"), p.text())
}

// A pong does not interrupt a frame that is being written, and is sent before queued messages.
func TestAPingWhileALargeMessageIsWritten(t *testing.T) {
	const size = 1 << 20
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{OutboxLimit: 16 << 20, MaximumParallelInvocationsPerClient: 4})
	p := h.dial()
	p.write(text, true, invocationJSON("1", "Long", size)+invocationJSON("2", "Long", size)+invocationJSON("3", "Long", size))
	_, err := p.r.Peek(1000) // the first message is being written
	require.NoError(t, err)
	p.write(ping, true, "first")
	p.write(ping, true, "second")
	pongs, records, last := 0, "", ""
	for len(records) < 3*(size+len(completionJSON("1", `""`))) || last != "second" {
		opcode, payload := p.read()
		switch opcode {
		case pong:
			pongs++
			last = string(payload)
			require.Less(t, len(records), 3*size, "behind everything")
		default:
			require.EqualValues(t, text, opcode)
			records += string(payload)
		}
	}
	require.LessOrEqual(t, pongs, 2)
	for _, record := range strings.Split(strings.TrimSuffix(records, separator), separator) {
		var m struct{ Result string }
		require.NoError(t, json.Unmarshal([]byte(record), &m))
		require.Equal(t, strings.Repeat("x", size), m.Result)
	}
}

func TestBytesThatComeWithTheRequest(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	for _, n := range []int{1, 100, 4000, 20000} {
		early := string(clientFrame(text, true, handshakeJSON)) + string(clientFrame(ping, true, "early")) + string(clientFrame(text, true, invocationJSON("1", "Count", strings.Repeat("x", n))))
		p, response := h.request(upgradeRequest("/echo", nil) + early)
		require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
		var got string
		for !strings.Contains(got, "result") {
			if opcode, payload := p.read(); opcode != pong {
				got += string(payload)
			}
		}
		require.Equal(t, "{}"+separator+completionJSON("1", fmt.Sprint(n)), got)
		p.write(closeOpcode, true, "")
		p.requireClose(1000)
		p.requireEOF()
	}
}

func (h *socketServer) negotiate() (token string) {
	h.t.Helper()
	response, err := http.Post("http://"+h.addr+"/echo/negotiate?negotiateVersion=1", "", nil)
	require.NoError(h.t, err)
	defer response.Body.Close()
	var n struct{ ConnectionToken string }
	require.NoError(h.t, json.NewDecoder(response.Body).Decode(&n))
	return n.ConnectionToken
}

func TestATokenOpensOneSocket(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	token := h.negotiate()
	status := func(query string) (int, string, []string) {
		_, response := h.request(upgradeRequest("/echo?"+query, nil))
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(body), response.Header.Values("Content-Type")
	}
	for _, query := range []string{"id=nobody", "id=" + token + "&id=" + token, "id=" + token + "x"} {
		code, body, kind := status(query)
		require.Equal(t, http.StatusNotFound, code, query)
		require.Equal(t, "No Connection with that ID", body)
		require.Empty(t, kind)
	}
	p := h.open("/echo?ID=" + token)
	code, body, kind := status("id=" + token)
	require.Equal(t, http.StatusConflict, code)
	require.Empty(t, body)
	require.Equal(t, []string{"text/plain"}, kind)
	p.handshake() // the connection still works
	p.write(closeOpcode, true, "")
	p.requireClose(1000)
	p.requireEOF()
	require.NoError(t, h.requireDisconnected())
	require.Eventually(t, func() bool { code, _, _ := status("id=" + token); return code == http.StatusNotFound }, testTimeout, time.Millisecond)
}

func TestAClientThatVanishes(t *testing.T) {
	partial := []string{"in a frame", "in a character", "between two fragments", "with half a record"}
	for name, end := range map[string]func(p *rawConn){
		"closes":                      func(p *rawConn) { p.conn.Close() },
		"resets":                      func(p *rawConn) { _ = p.conn.SetLinger(0); p.conn.Close() },
		"ends its half":               func(p *rawConn) { _ = p.conn.CloseWrite() },
		"in a frame's head":           func(p *rawConn) { p.writeRaw([]byte{0x81}); p.conn.Close() },
		"in a frame":                  func(p *rawConn) { p.writeRaw(clientFrame(text, true, "hello")[:8]); p.conn.Close() },
		"in a character":              func(p *rawConn) { p.write(text, false, "\xe2"); p.conn.Close() },
		"between two fragments":       func(p *rawConn) { p.write(text, false, "{"); p.conn.Close() },
		"with half a record":          func(p *rawConn) { p.write(text, true, "{"); p.conn.Close() },
		"while it is being answered":  func(p *rawConn) { p.write(text, true, invocationJSON("1", "Long", 500000)); p.conn.Close() },
		"while it reads nothing more": func(p *rawConn) { p.write(text, true, invocationJSON("1", "Long", 500000)); _ = p.conn.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
			p := h.dial()
			p.write(text, true, invocationJSON("0", "Echo", 0))
			require.Equal(t, completionJSON("0", "0"), p.text())
			end(p)
			if err := h.requireDisconnected(); slices.Contains(partial, name) {
				require.EqualError(t, err, "Connection terminated while reading a message.")
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// The server waits for the client's close frame, and discards frames before it.
func TestTheServerWaitsForTheAnswerToItsCloseFrame(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{CloseTimeout: time.Hour}, hubsys.HubOptions{})
	p := h.dial()
	p.write(text, true, invocationJSON("", "Abort"))
	require.Equal(t, `{"type":7}`+separator, p.text())
	p.requireClose(1000)
	require.NoError(t, h.requireDisconnected())
	for range 50 {
		p.write(text, true, invocationJSON("1", "Count", strings.Repeat("x", 10000)))
		p.write(ping, true, "")
	}
	p.write(closeOpcode, true, closeFrame(1000, ""))
	p.requireEOF()
}

func TestTheServerWaitsNoLongerThanCloseTimeout(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{CloseTimeout: time.Millisecond}, hubsys.HubOptions{})
	p := h.dial()
	p.write(text, true, invocationJSON("", "Abort"))
	require.Equal(t, `{"type":7}`+separator, p.text())
	p.requireClose(1000)
	p.requireEOF()
}

// A close frame that the client does not read does not keep the connection open.
func TestAClientThatNeitherReadsNorClosesIsCutOff(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{CloseTimeout: time.Millisecond}, hubsys.HubOptions{OutboxLimit: 16 << 20})
	p := h.dial()
	p.write(text, true, invocationJSON("1", "Long", 8<<20)+invocationJSON("", "Abort"))
	require.NoError(t, h.requireDisconnected())
	_, err := io.Copy(io.Discard, p.r)
	_ = err // with or without an error
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// Of many concurrent WebSocket requests with one token, one opens the connection.
func TestManySocketsWithOneToken(t *testing.T) {
	h := newSocketServer(t, hubsys.EndpointOptions{}, hubsys.HubOptions{})
	token := h.negotiate()
	statuses := make(chan int, 20)
	var all sync.WaitGroup
	for range cap(statuses) {
		conn, err := net.Dial("tcp", h.addr)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		all.Go(func() {
			_, _ = io.WriteString(conn, upgradeRequest("/echo?id="+token, nil))
			if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				statuses <- response.StatusCode
			}
		})
	}
	all.Wait()
	count := map[int]int{}
	for range cap(statuses) {
		count[<-statuses]++
	}
	require.Equal(t, map[int]int{http.StatusSwitchingProtocols: 1, http.StatusConflict: cap(statuses) - 1}, count)
}
