package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// browserHeaders are what a browser sends besides what a WebSocket needs.
const browserHeaders = "Origin: http://%s\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n" +
	"Cookie: session=8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d; theme=dark; consent=2026-11-21T00:00:00Z; _ga=GA1.1.1234567890.1700000000\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

// patience is how long a server may take to answer a client that opens a connection.
var patience = 30 * time.Second

// receiveBuffer is the room for what a connection has been sent that does not read.
const receiveBuffer = 4096

// dial opens a WebSocket to a server, shakes hands, and returns the socket. The token is that of a negotiation, if there was one. The id is known only if
// the protocol is that of SignalR 2.
func (g *generator) dial(s *server, token string, deaf bool) (fd int, id string, err error) {
	target, err := net.ResolveTCPAddr("tcp4", s.addr)
	if err != nil {
		return 0, "", err
	}
	if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return 0, "", err
	}
	defer func(fd int) { // which is 0 when an error is returned
		if err != nil {
			_ = syscall.Close(fd)
		}
	}(fd)
	late := syscall.NsecToTimeval(patience.Nanoseconds())
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &late)
	if deaf {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: target.Port, Addr: [4]byte(target.IP.To4())}); err != nil {
		return 0, "", err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	path := "/bench?id=" + token
	var query string
	if g.protocol == classic {
		if query, id, err = s.negotiateClassic(); err != nil {
			return 0, "", err
		}
		path = "/benchclassic/connect?" + query
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + s.addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n" + fmt.Sprintf(browserHeaders, s.addr) + "\r\n"
	if _, err := syscall.Write(fd, []byte(request)); err != nil {
		return 0, "", err
	}
	end := "\r\n\r\n"
	if g.protocol == classic {
		end = `"M":[]}` // the first message, which comes unasked
	}
	answer, err := readUntil(fd, end)
	if err == nil && !strings.HasPrefix(answer, "HTTP/1.1 101") {
		err = errors.New("refused")
	}
	if err != nil {
		return 0, "", fmt.Errorf("upgrade: %w: %q", err, answer)
	}
	if g.protocol == classic {
		if answer := s.get("/benchclassic/start?" + query); !strings.Contains(answer, "started") {
			return 0, "", fmt.Errorf("start: %q", answer)
		}
		return fd, id, nil
	}
	name := "json"
	if g.protocol == packed {
		name = "messagepack"
	}
	if _, err := syscall.Write(fd, maskedFrame(jsonText.opcode(), []byte(`{"protocol":"`+name+`","version":1}`+"\x1e"))); err != nil {
		return 0, "", err
	}
	if answer, err := readUntil(fd, "{}\x1e"); strings.Contains(answer, `"error":`) {
		return 0, "", &lacking{"it has no protocol " + name}
	} else if err != nil {
		return 0, "", fmt.Errorf("handshake: %w %q", err, answer)
	}
	return fd, "", nil
}

// negotiateClassic returns the query and the id of a connection of SignalR 2.
func (s *server) negotiateClassic() (query, id string, err error) {
	hubs := url.Values{"clientProtocol": {"2.1"}, "connectionData": {`[{"name":"benchhub"}]`}}
	var answer struct{ ConnectionToken, ConnectionID string }
	if err := json.Unmarshal([]byte(s.get("/benchclassic/negotiate?"+hubs.Encode())), &answer); err != nil {
		return "", "", &lacking{"it has no protocol of SignalR 2"}
	}
	hubs.Set("transport", "webSockets")
	hubs.Set("connectionToken", answer.ConnectionToken)
	return hubs.Encode(), answer.ConnectionID, nil
}

// negotiate returns the token of a connection.
func (s *server) negotiate() (string, error) {
	r, err := orders.Post("http://"+s.addr+"/bench/negotiate?negotiateVersion=1", "", nil)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	var answer struct{ ConnectionToken string }
	err = json.NewDecoder(r.Body).Decode(&answer)
	return answer.ConnectionToken, err
}

// invoke calls a method over a JSON connection that nothing else is sent to, and returns the answer.
func invoke(fd int, method string, args ...any) (string, error) {
	if _, err := syscall.Write(fd, maskedFrame(jsonText.opcode(), jsonText.call(invocation, "1", method, args...))); err != nil {
		return "", err
	}
	answer, err := readUntil(fd, "\x1e")
	if err == nil && strings.Contains(answer, `"error":`) {
		err = &lacking{"it has no method " + method}
	}
	return answer, err
}

// askID asks the server for the id of a connection.
func askID(fd int) (string, error) {
	answer, err := invoke(fd, "Id")
	_, id, _ := strings.Cut(answer, `"result":"`)
	id, _, ok := strings.Cut(id, `"`)
	if err == nil && !ok {
		err = fmt.Errorf("id: %q", answer)
	}
	return id, err
}

func readUntil(fd int, end string) (string, error) {
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.HasSuffix(all, []byte(end)) {
		n, err := syscall.Read(fd, buf)
		switch err {
		case syscall.EINTR: // reads that time out are not begun again after a signal, such as those of the runtime
			continue
		case syscall.EAGAIN:
			err = os.ErrDeadlineExceeded
		}
		if err != nil || n == 0 {
			return string(all), cmp.Or(err, io.ErrUnexpectedEOF)
		}
		all = append(all, buf[:n]...)
	}
	return string(all), nil
}
