package hubsys_test

import (
	"bytes"
	"compress/flate"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// compressionOffers are what clients offer that can compress.
var compressionOffers = []string{
	"permessage-deflate", "permessage-deflate; client_max_window_bits", "PERMESSAGE-DEFLATE; server_no_context_takeover; client_no_context_takeover",
	"x-webkit-deflate-frame", "permessage-deflate; client_max_window_bits=15, permessage-deflate",
}

// dialRaw opens a TCP connection, or one of TLS, to a test server.
func dialRaw(t *testing.T, srv *testServer) *rawConn {
	t.Helper()
	if !strings.HasPrefix(srv.url, "https") {
		return dialTCP(t, srv.url)
	}
	host, path, _ := strings.Cut(strings.TrimPrefix(srv.url, "https://"), "/")
	conn, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // of a test server
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return newRawConn(t, conn, "/"+path)
}

// Compression is never agreed on, over TLS neither, nor by a WebSocket that another one is replaced by: what a client sends cannot grow at the server,
// and secrets beside texts of others cannot be guessed by the sizes of messages. A frame that says that it is compressed ends the connection.
func TestCompressionIsNeverNegotiated(t *testing.T) {
	var compressed bytes.Buffer
	w, err := flate.NewWriter(&compressed, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write([]byte(invocation("1", "Echo", "compressed") + separator))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	payload := strings.TrimSuffix(compressed.String(), "\x00\x00\xff\xff")
	for _, useTLS := range []bool{false, true} {
		srv := newTestServer(t, testConfig{tls: useTLS, EndpointOptions: hubsys.EndpointOptions{AllowStatefulReconnects: true, CloseTimeout: quickClose}})
		bystander := dialWith(t, srv.url, dialOptions{client: insecureClient(&http.Client{Transport: &http.Transport{}})})
		for _, offer := range compressionOffers {
			negotiated := "?id=" + tokenOf(t, serveRequest(srv.sys, http.MethodPost, negotiatePath+"&useStatefulReconnect=true", "", nil))
			var former *rawConn
			for _, query := range []string{"", negotiated, negotiated} { // the last one replaces the one before
				p := dialRaw(t, srv)
				p.mustWrite(p.request(http.MethodGet, query, upgradeHeader+"Sec-WebSocket-Extensions: "+offer+"\r\n"))
				response := p.response()
				require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
				require.Empty(t, response.Header.Values("Sec-WebSocket-Extensions"), offer)
				if former == nil {
					p.mustWrite(clientFrame(textFrame, `{"protocol":"json","version":2}`+separator))
					_, answer, err := p.read()
					require.NoError(t, err)
					require.Equal(t, "{}"+separator, answer)
				}
				if query != "" && former == nil {
					former = p
					continue
				}
				p.mustWrite(clientFrame(textFrame|0x40, payload)) // RSV1: compressed
				requireProtocolError(t, p)
			}
		}
		bystander.requireNoMessages()
	}
}

// requireProtocolError requires that a WebSocket is closed with code 1002, and that no call was executed.
func requireProtocolError(t *testing.T, p *rawConn) {
	t.Helper()
	for {
		opcode, payload, err := p.read()
		require.NoError(t, err)
		require.NotContains(t, payload, "compressed")
		if opcode == 8 {
			require.Equal(t, "\x03\xea", payload)
			return
		}
	}
}

// No answer of HTTP is compressed, whatever the client accepts.
func TestAnswersOfHTTPAreNotCompressed(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	header := http.Header{"Accept-Encoding": {"gzip, deflate, br"}}
	w := serveRequest(srv.sys, http.MethodPost, negotiatePath, "", header)
	require.Empty(t, w.Header().Get("Content-Encoding"))
	query := startPolling(t, srv.url, "json")
	w = serveRequest(srv.sys, http.MethodGet, "/test"+query, "", header)
	require.Equal(t, "{}"+separator, w.Body.String())
	require.Empty(t, w.Header().Get("Content-Encoding"))
	p := dialTCP(t, srv.url)
	p.mustWrite(p.request(http.MethodGet, negotiateQuery(t, srv.url), events+"Accept-Encoding: gzip, deflate, br\r\n"))
	require.Equal(t, "identity", p.response().Header.Get("Content-Encoding"))
}

// A compressed body is read as it is: it is no message.
func TestCompressedBodiesAreNotDecoded(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	var compressed bytes.Buffer
	w, err := flate.NewWriter(&compressed, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write([]byte(strings.Repeat("x", mib)))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	query := startPolling(t, srv.url, "json")
	status, _ := doRequest(t, http.MethodPost, srv.url+query, compressed.String()+separator, http.Header{"Content-Encoding": {"deflate"}})
	require.Equal(t, http.StatusOK, status)
	received := ""
	for status == http.StatusOK {
		var body string
		status, body = doRequest(t, http.MethodGet, srv.url+query, "", nil)
		received += body
	}
	require.Contains(t, received, closeErrorJSON)
}
