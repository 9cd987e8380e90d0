package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// link carries a session: a WebSocket, or the requests of an event stream or of polls.
type link interface {
	// send sends whole records.
	send(records []byte) error
	// receive waits for what the server sends next. It is whole records, but for the end of a link that is lost.
	receive() ([]byte, error)
	// write writes bytes to the TCP connection, past the protocol of the transport.
	write(b []byte) error
	// close closes the TCP connections.
	close()
}

// requestTimeout is how long a request may take, or a write. A test that passes does not wait that long.
const requestTimeout = 2 * time.Minute

// errClosed is the error of receive when the server has ended the session in the way of the transport.
var errClosed = errors.New("the server has closed the link")

// statusError is an answer that was not expected.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %.100s", e.status, e.body) }

// statusOf returns the status of an answer that was not expected, or 0.
func statusOf(err error) int {
	if e := (*statusError)(nil); errors.As(err, &e) {
		return e.status
	}
	return 0
}

// socket is a WebSocket.
type socket struct {
	ws   *websocket.Conn
	conn net.Conn
}

func (w *world) openSocket(client int, query url.Values) (*socket, error) {
	s := &socket{}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := w.proxy.dial(ctx, client)
		s.conn = conn
		return conn, err
	}}
	ws, response, err := websocket.Dial(ctx, "ws://chaos/hub?"+query.Encode(), &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			err = &statusError{status: response.StatusCode}
		}
		return nil, err
	}
	ws.SetReadLimit(-1)
	s.ws = ws
	return s, nil
}

func (s *socket) send(records []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageText, records)
}

func (s *socket) receive() ([]byte, error) {
	_, b, err := s.ws.Read(context.Background())
	if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
		err = errClosed
	}
	return b, err
}

func (s *socket) write(b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

func (s *socket) close() {
	s.conn.Close()
	_ = s.ws.CloseNow()
}

// wire is a TCP connection for one request after the other. http.Transport would repeat requests whose answers are lost.
type wire struct {
	world  *world
	client int

	mu   sync.Mutex // of conn
	conn net.Conn
	read *bufio.Reader
	over bool
}

func (w *world) newWire(client int) *wire { return &wire{world: w, client: client} }

// begin sends a request, and returns the head of the answer.
func (w *wire) begin(method, path string, query url.Values, header http.Header, body []byte) (*http.Response, error) {
	conn, err := w.connect()
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(method, "http://chaos"+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	_ = conn.SetDeadline(time.Now().Add(requestTimeout))
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(w.read, r)
}

func (w *wire) connect() (net.Conn, error) {
	w.mu.Lock()
	conn, over := w.conn, w.over
	w.mu.Unlock()
	if over {
		return nil, net.ErrClosed
	}
	if conn != nil {
		return conn, nil
	}
	made, err := w.world.proxy.dial(context.Background(), w.client)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		made.Close()
		return nil, net.ErrClosed
	}
	w.conn, w.read = made, bufio.NewReaderSize(made, 2048)
	return made, nil
}

// do sends a request, and returns the body of an answer with a status below 300.
func (w *wire) do(method, path string, query url.Values, body []byte) (status int, content []byte, err error) {
	response, err := w.begin(method, path, query, nil, body)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	if content, err = io.ReadAll(response.Body); err != nil {
		return 0, nil, err
	}
	if response.Close {
		w.mu.Lock()
		w.conn.Close()
		w.conn = nil
		w.mu.Unlock()
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return 0, nil, &statusError{response.StatusCode, string(content)}
	}
	return response.StatusCode, content, nil
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.conn != nil {
		w.conn.Close()
	}
}

// identifiers are what a negotiation returns.
type identifiers struct {
	ConnectionID, ConnectionToken string
	UseStatefulReconnect          bool
}

func (w *world) negotiate(client int, stateful bool, query url.Values) (n identifiers, err error) {
	one := w.newWire(client)
	defer one.close()
	with := url.Values{"negotiateVersion": {"1"}, userQuery: query[userQuery]}
	if stateful {
		with.Set("useStatefulReconnect", "true")
	}
	_, body, err := one.do(http.MethodPost, "/hub/negotiate", with, nil)
	if err == nil {
		err = json.Unmarshal(body, &n)
	}
	return n, err
}

// fetched is an event stream, or polls, and the POSTs beside it.
type fetched struct {
	polls  bool
	query  url.Values
	get    *wire
	post   *wire
	events *bufio.Reader
}

func (w *world) openFetched(client int, polls bool, query url.Values) (*fetched, error) {
	f := &fetched{polls: polls, query: query, get: w.newWire(client), post: w.newWire(client)}
	var err error
	if polls {
		_, _, err = f.get.do(http.MethodGet, "/hub", query, nil)
	} else {
		err = f.openEvents()
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fetched) openEvents() error {
	response, err := f.get.begin(http.MethodGet, "/hub", f.query, http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return &statusError{status: response.StatusCode}
	}
	_ = f.get.conn.SetDeadline(time.Time{})
	f.events = bufio.NewReader(response.Body)
	return nil
}

func (f *fetched) send(records []byte) error {
	_, _, err := f.post.do(http.MethodPost, "/hub", f.query, records)
	return err
}

func (f *fetched) receive() ([]byte, error) {
	if !f.polls {
		return f.event()
	}
	status, body, err := f.get.do(http.MethodGet, "/hub", f.query, nil)
	if status == http.StatusNoContent {
		err = errClosed
	}
	return body, err
}

// event returns the data of the next event. What has come of an event that does not end is dropped.
func (f *fetched) event() ([]byte, error) {
	var data []byte
	for {
		line, err := f.events.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data = append(data, text...)
		} else if line == "" && data != nil {
			return data, nil
		}
	}
}

func (f *fetched) write(b []byte) error {
	conn, err := f.post.connect()
	if err == nil {
		_, err = conn.Write(b)
	}
	return err
}

func (f *fetched) close() {
	f.get.close()
	f.post.close()
}

// remove asks the server to end a session over polls.
func (w *world) remove(client int, query url.Values) error {
	one := w.newWire(client)
	defer one.close()
	_, _, err := one.do(http.MethodDelete, "/hub", query, nil)
	if statusOf(err) == http.StatusNotFound {
		err = nil
	}
	return err
}
