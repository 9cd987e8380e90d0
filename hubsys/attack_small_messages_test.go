package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const (
	holdJSON = `{"type":1,"invocationId":"hold","target":"Do","arguments":["hold",[]]}` + separator
	tickJSON = `{"type":1,"target":"Do","arguments":["tick",[]]}` + separator
	pingJSON = `{"type":6}` + separator
)

var (
	holdPack = msgpackRecord("\x96\x01\x80\xa4hold\xa2Do\x92\xa4hold\x90\x90")
	tickPack = msgpackRecord("\x96\x01\x80\xc0\xa2Do\x92\xa4tick\x90\x90")
	pingPack = msgpackRecord("\x91\x06")
)

// messageBurst is a megabyte of small messages behind a large one, which makes the read buffer grow.
type messageBurst struct {
	protocol     string
	hold         string // a call of a method that blocks
	large, small string
	ticks        int // number of calls in small
}

func messageBursts() map[string]messageBurst {
	const size = mib - 100
	longJSON := `{"type":6,"x":"` + strings.Repeat("y", size) + `"}` + separator
	longPack := msgpackRecord("\x92\x06\xdb" + string([]byte{size >> 24, size >> 16, size >> 8 & 0xff, size & 0xff}) + strings.Repeat("y", size))
	mixed := pingJSON + tickJSON + pingJSON
	mixedPack := strings.Repeat(pingPack, 100) + tickPack
	return map[string]messageBurst{
		"pings in JSON":                  {"json", holdJSON, longJSON, tickJSON + strings.Repeat(pingJSON, mib/len(pingJSON)), 1},
		"sends in JSON":                  {"json", holdJSON, longJSON, strings.Repeat(tickJSON, mib/len(tickJSON)), mib / len(tickJSON)},
		"pings and sends in JSON":        {"json", holdJSON, longJSON, strings.Repeat(mixed, mib/len(mixed)), mib / len(mixed)},
		"pings in MessagePack":           {"messagepack", holdPack, longPack, tickPack + strings.Repeat(pingPack, mib/len(pingPack)), 1},
		"pings and sends in MessagePack": {"messagepack", holdPack, longPack, strings.Repeat(mixedPack, mib/len(mixedPack)), mib / len(mixedPack)},
	}
}

// The memory for the parsed messages of one read does not exceed InboundLimit, however small the messages are.
func TestSmallMessagesUseNoMoreMemoryThanInboundLimit(t *testing.T) {
	const inbound = mib
	limit := 2*inbound + 2*mib + 2*mib // waiting messages, the read buffer (which grows to two megabytes), and everything else
	for name, s := range messageBursts() {
		for _, transport := range []hubsys.Transports{hubsys.WebSockets, hubsys.LongPolling} {
			t.Run(fmt.Sprint(name, " by ", transport), func(t *testing.T) {
				srv := newTestServer(t, testConfig{
					HubOptions:      hubsys.HubOptions{MaximumReceiveMessageSize: mib, InboundLimit: inbound},
					EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose},
				})
				held, proceed := make(chan struct{}), make(chan struct{})
				release := sync.OnceFunc(func() { close(proceed) })
				t.Cleanup(release)
				srv.handle("hold", func(context.Context, *testHub, []json.RawMessage) (any, error) {
					close(held)
					<-proceed
					return nil, nil
				})
				var ticks atomic.Int64
				srv.handle("tick", countingAction(&ticks))
				p, body, first, second := s.dial(srv, transport)
				receive(t, held)
				all := body(first, second)
				before := heapInUse()
				failed := make(chan error, 1)
				go func() { failed <- p.write(all) }()
				grown := peakHeap(p.sent.Load) - before
				require.LessOrEqual(t, grown, limit, "%d MB for a message of %d MB", grown/mib, len(all)/mib)
				release()
				require.NoError(t, receive(t, failed))
				eventually(t, func() bool { return ticks.Load() == int64(s.ticks) }, "all calls run: %d", s.ticks)
			})
		}
	}
}

// dial opens a connection with a blocked call, and returns how to encode what is sent next: as two frames of one message, the second of
// which begins with the end of the large record, or as one body.
func (s messageBurst) dial(srv *testServer, transport hubsys.Transports) (p *rawConn, body func(first, second string) string, first, second string) {
	srv.t.Helper()
	cut := len(s.large) - 10
	first, second = s.large[:cut], s.large[cut:]+s.small
	if transport == hubsys.WebSockets {
		opcode := byte(textFrame)
		if s.protocol == "messagepack" {
			opcode = binaryFrame
		}
		p = dialRawSocket(srv.t, srv.url, s.protocol)
		p.mustWrite(clientFrame(opcode, s.hold))
		return p, func(first, second string) string {
			return clientFragment(opcode, false, first) + clientFragment(0, true, second)
		}, first, second
	}
	query := startPolling(srv.t, srv.url, s.protocol)
	status, _ := doRequest(srv.t, http.MethodPost, srv.url+query, s.hold, nil)
	require.Equal(srv.t, http.StatusOK, status)
	p = dialTCP(srv.t, srv.url)
	go func() { _, _ = io.Copy(io.Discard, p.r) }()
	return p, func(first, second string) string {
		return p.request(http.MethodPost, query, fmt.Sprintf("Content-Length: %d\r\n", len(first)+len(second))) + first + second
	}, first, second
}
