//go:build linux

package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// client is a connection to a node.
type client struct {
	node  *node
	id    string
	ws    *websocket.Conn
	text  func(string) // is called for each message
	ended chan struct{}

	mu      sync.Mutex
	last    int
	answers map[string]chan message
	closed  time.Time // when the server has said that it closes the connection; zero: it has not
	goodbye message   // with which it has said so
	err     error     // that has ended the connection
}

// message is what a server sends, in JSON.
type message struct {
	Type           int
	InvocationID   string
	Target         string
	Arguments      []string
	Result         json.RawMessage
	Error          string
	AllowReconnect bool
}

const (
	dialTime  = 10 * time.Second
	pingPause = 5 * time.Second
	separator = 0x1e
)

var errEnded = errors.New("the connection has ended")

// connect opens a connection. If negotiated is not nil, that node is asked for a token first.
func connect(x, negotiated *node, path string, text func(string)) (*client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	url := net.JoinHostPort(x.address, hubPort) + path
	if negotiated != nil {
		token, err := negotiated.negotiate(ctx, path)
		if err != nil {
			return nil, err
		}
		url += "?id=" + token
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: x.dial}
	ws, _, err := websocket.Dial(ctx, "ws://"+url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	c := &client{node: x, ws: ws, text: text, ended: make(chan struct{}), answers: map[string]chan message{}}
	late := time.AfterFunc(dialTime, func() { _ = ws.CloseNow() })
	if err = c.write([]byte(`{"protocol":"json","version":1}` + "\x1e")); err == nil {
		err = c.welcome()
	}
	if !late.Stop() && err == nil {
		err = errEnded
	}
	if err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	go c.read()
	go c.ping()
	var id string
	if err := c.call(&id, "Id"); err != nil {
		c.close()
		return nil, err
	}
	c.id = id
	return c, nil
}

// negotiate returns a token.
func (x *node) negotiate(ctx context.Context, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(x.address, hubPort)+path+"/negotiate?negotiateVersion=1", nil)
	if err != nil {
		return "", err
	}
	answer, err := x.http.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	var tokens struct{ ConnectionToken string }
	if err == nil {
		err = json.Unmarshal(body, &tokens)
	}
	return tokens.ConnectionToken, err
}

// welcome reads the answer to the handshake. What comes with it is a message like any other.
func (c *client) welcome() error {
	_, b, err := c.ws.Read(context.Background())
	if err != nil {
		return err
	}
	answer, rest, _ := bytes.Cut(b, []byte{separator})
	if string(answer) != "{}" {
		return fmt.Errorf("the handshake is answered with %s", answer)
	}
	c.take(rest)
	return nil
}

func (c *client) read() {
	defer close(c.ended)
	for {
		_, b, err := c.ws.Read(context.Background())
		if err != nil {
			_ = c.ws.CloseNow()
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		c.take(b)
	}
}

// take takes whole messages.
func (c *client) take(b []byte) {
	for record := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{separator}), []byte{separator}) {
		var m message
		if len(record) == 0 || json.Unmarshal(record, &m) != nil {
			continue
		}
		switch m.Type {
		case 1:
			c.text(m.Arguments[0])
		case 3:
			c.mu.Lock()
			answer := c.answers[m.InvocationID]
			delete(c.answers, m.InvocationID)
			c.mu.Unlock()
			if answer == nil {
				panic(fmt.Sprintf("call %s of %s is answered twice, or was not made", m.InvocationID, c.id))
			}
			answer <- m
		case 7:
			c.mu.Lock()
			c.closed, c.goodbye = time.Now(), m
			c.mu.Unlock()
		}
	}
}

func (c *client) ping() {
	tick := time.NewTicker(pingPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = c.write([]byte(`{"type":6}` + "\x1e"))
		case <-c.ended:
			return
		}
	}
}

func (c *client) write(b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), testTime+time.Minute) // as long as a node may be stopped
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, b)
}

// begin calls a method. The channel gets the answer, if one comes.
func (c *client) begin(target string, args ...any) (<-chan message, error) {
	c.mu.Lock()
	if !c.closed.IsZero() {
		c.mu.Unlock()
		return nil, errEnded
	}
	c.last++
	id, answer := strconv.Itoa(c.last), make(chan message, 1)
	c.answers[id] = answer
	c.mu.Unlock()
	call, err := json.Marshal(map[string]any{"type": 1, "invocationId": id, "target": target, "arguments": append([]any{}, args...)})
	if err == nil {
		err = c.write(append(call, separator))
	}
	return answer, err
}

// call calls a method, and waits for the answer.
func (c *client) call(result any, target string, args ...any) error {
	answer, err := c.begin(target, args...)
	if err != nil {
		return err
	}
	return c.finish(answer, result)
}

func (c *client) finish(answer <-chan message, result any) error {
	var m message
	select {
	case m = <-answer:
	case <-c.ended:
		select {
		case m = <-answer:
		default:
			return errEnded
		}
	}
	if m.Error != "" {
		return errors.New(m.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(m.Result, result)
}

// close ends the connection, and waits for its goroutines.
func (c *client) close() {
	_ = c.ws.CloseNow()
	<-c.ended
}
