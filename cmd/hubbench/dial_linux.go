package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
)

// browserHeaders are what a browser sends besides what a WebSocket needs.
const browserHeaders = "Origin: http://%s\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n" +
	"Cookie: session=8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d; theme=dark; consent=2026-11-21T00:00:00Z; _ga=GA1.1.1234567890.1700000000\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

// dial opens a WebSocket to a server, shakes hands, and returns the socket. The token is that of a negotiation, if there was one.
func (g *generator) dial(s server, token string) (fd int, err error) {
	target, err := net.ResolveTCPAddr("tcp4", s.addr)
	if err != nil {
		return 0, err
	}
	if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = syscall.Close(fd)
		}
	}()
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: target.Port, Addr: [4]byte(target.IP.To4())}); err != nil {
		return 0, err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	classic := g.load.classic && !isBaseline(s.name)
	path := "/bench?id=" + token
	var query string
	if classic {
		if query, err = s.negotiateClassic(); err != nil {
			return 0, err
		}
		path = "/benchclassic/connect?" + query
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + s.addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n" + fmt.Sprintf(browserHeaders, s.addr) + "\r\n"
	if _, err := syscall.Write(fd, []byte(request)); err != nil {
		return 0, err
	}
	end := "\r\n\r\n"
	if classic {
		end = `"M":[]}` // the first message, which comes unasked
	}
	answer, err := readUntil(fd, end)
	if err == nil && !strings.HasPrefix(answer, "HTTP/1.1 101") {
		err = errors.New("refused")
	}
	if err != nil {
		return 0, fmt.Errorf("upgrade: %w: %q", err, answer)
	}
	if classic {
		if answer := s.get("/benchclassic/start?" + query); !strings.Contains(answer, "started") {
			return 0, fmt.Errorf("start: %q", answer)
		}
		return fd, nil
	}
	protocol := "json"
	if g.load.packed && !isBaseline(s.name) {
		protocol = "messagepack"
	}
	if _, err := syscall.Write(fd, maskedFrame([]byte(`{"protocol":"`+protocol+`","version":1}`+"\x1e"))); err != nil {
		return 0, err
	}
	if answer, err := readUntil(fd, "{}\x1e"); err != nil {
		return 0, fmt.Errorf("handshake: %w %q", err, answer)
	}
	return fd, nil
}

// negotiateClassic returns the query of a connection of SignalR 2.
func (s *server) negotiateClassic() (string, error) {
	hubs := url.Values{"clientProtocol": {"2.1"}, "connectionData": {`[{"name":"benchhub"}]`}}
	var answer struct{ ConnectionToken string }
	if err := json.Unmarshal([]byte(s.get("/benchclassic/negotiate?"+hubs.Encode())), &answer); err != nil {
		return "", err
	}
	hubs.Set("transport", "webSockets")
	hubs.Set("connectionToken", answer.ConnectionToken)
	return hubs.Encode(), nil
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

// askID asks the server for the id of a connection.
func askID(fd int) (string, error) {
	if _, err := syscall.Write(fd, maskedFrame([]byte(`{"type":1,"invocationId":"1","target":"Id","arguments":[]}`+"\x1e"))); err != nil {
		return "", err
	}
	answer, err := readUntil(fd, "\x1e")
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
		if err != nil || n == 0 {
			return string(all), cmp.Or(err, io.ErrUnexpectedEOF)
		}
		all = append(all, buf[:n]...)
	}
	return string(all), nil
}

func maskedFrame(payload []byte) []byte {
	b := []byte{0x81}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i&3])
	}
	return b
}
