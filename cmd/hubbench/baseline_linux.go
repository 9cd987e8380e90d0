package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// baseline is a server that does nothing but what cannot be avoided.
type baseline struct {
	mu    sync.Mutex
	conns []net.Conn
}

// serveBaseline is a raw write loop ("loop") or a bare echo ("echo"): a goroutine per socket, no hub, no actors, no safety.
func serveBaseline(what, addr string) error {
	return http.ListenAndServe(addr, (&baseline{}).handler(what == "loop"))
}

func (b *baseline) handler(join bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/bench", func(w http.ResponseWriter, r *http.Request) {
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		go b.answer(conn, join)
	})
	mux.HandleFunc("/start", b.start)
	mux.HandleFunc("/bench/start", b.start)
	mux.HandleFunc("/gc", func(w http.ResponseWriter, _ *http.Request) { debug.FreeOSMemory() })
	return mux
}

// answer reads frames, shakes hands, and answers calls with completions.
func (b *baseline) answer(conn net.Conn, join bool) {
	defer conn.Close()
	in := make([]byte, 0, 2048)
	var out, replies []byte
	greeted := false
	for {
		n, err := conn.Read(in[len(in):cap(in)])
		if err != nil {
			return
		}
		in = in[:len(in)+n]
		out = out[:0]
		for {
			payload, rest, ok := unmask(in)
			if !ok {
				break
			}
			if !greeted {
				greeted = true
				out = appendFrame(out, []byte("{}\x1e"))
				if join {
					b.mu.Lock()
					b.conns = append(b.conns, conn)
					b.mu.Unlock()
				}
			} else {
				replies = replies[:0]
				for record := range bytes.SplitSeq(bytes.TrimSuffix(payload, []byte{0x1e}), []byte{0x1e}) {
					replies = appendReply(replies, record)
				}
				out = appendFrame(out, replies)
			}
			in = in[:copy(in[:cap(in)], rest)]
		}
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return
			}
		}
	}
}

// appendReply finds id and argument of a call without parsing it.
func appendReply(dst, record []byte) []byte {
	_, id, _ := bytes.Cut(record, []byte(`"invocationId":"`))
	id, _, _ = bytes.Cut(id, []byte{'"'})
	_, arg, _ := bytes.Cut(record, []byte(`"arguments":[`))
	arg, _, _ = bytes.Cut(arg, []byte{']'})
	dst = append(append(dst, `{"type":3,"invocationId":"`...), id...)
	dst = append(append(dst, `","result":`...), arg...)
	return append(dst, '}', 0x1e)
}

// unmask returns the payload of the first frame in b, and what stands behind it.
func unmask(b []byte) (payload, rest []byte, ok bool) {
	if len(b) < 6 {
		return nil, b, false
	}
	n, at := int(b[1]&0x7f), 2
	if n == 126 {
		n, at = int(binary.BigEndian.Uint16(b[2:])), 4
	}
	if len(b) < at+4+n {
		return nil, b, false
	}
	mask := b[at : at+4]
	payload = b[at+4 : at+4+n]
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	return payload, b[at+4+n:], true
}

func appendFrame(dst, payload []byte) []byte {
	if len(payload) < 126 {
		dst = append(dst, 0x81, byte(len(payload)))
	} else {
		dst = binary.BigEndian.AppendUint16(append(dst, 0x81, 126), uint16(len(payload)))
	}
	return append(dst, payload...)
}

// start writes one prepared frame to every socket, or to those of one group after the other, without ever writing two frames at once.
func (b *baseline) start(w http.ResponseWriter, r *http.Request) {
	number := func(name string) float64 {
		n, _ := strconv.ParseFloat(r.FormValue(name), 64)
		return n
	}
	rate, groups := number("rate"), int(number("groups"))
	duration := time.Duration(number("dur")) * time.Millisecond
	text := `{"type":1,"target":"Receive","arguments":[{"t":%d,"user":"alice","text":"hello^ this is a broadcast message` + strings.Repeat("x", int(number("bytes"))) + `"}]}` + "\x1e"
	stampsDue := groups > 0 || number("bytes") > 0 // as with the other servers
	start := time.Now()
	for i := 0; time.Since(start) < duration; i++ {
		stamp := time.Now()
		if rate > 0 {
			due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			time.Sleep(time.Until(due))
			if stamp = time.Now(); stampsDue {
				stamp = due
			}
		}
		frame := appendFrame(nil, fmt.Appendf(nil, text, stamp.UnixNano()))
		b.mu.Lock()
		to := b.conns
		if groups > 0 {
			n := len(to) / groups
			to = to[i%groups*n:][:n]
		}
		for _, conn := range to {
			_, _ = conn.Write(frame)
		}
		b.mu.Unlock()
	}
	fmt.Fprintln(w, "ok")
}
