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
	holdPack = packed("\x96\x01\x80\xa4hold\xa2Do\x92\xa4hold\x90\x90")
	tickPack = packed("\x96\x01\x80\xc0\xa2Do\x92\xa4tick\x90\x90")
	pingPack = packed("\x91\x06")
)

// swarm is a megabyte of small messages, behind a long one, for which memory to read into was made.
type swarm struct {
	protocol   string
	hold       string // calls a method that returns when the test says so
	long, tiny string
	ticks      int // calls in tiny
}

func swarms() map[string]swarm {
	const size = mib - 100
	longJSON := `{"type":6,"x":"` + strings.Repeat("y", size) + `"}` + separator
	longPack := packed("\x92\x06\xdb" + string([]byte{size >> 24, size >> 16, size >> 8 & 0xff, size & 0xff}) + strings.Repeat("y", size))
	mixed := pingJSON + tickJSON + pingJSON
	mixedPack := strings.Repeat(pingPack, 100) + tickPack
	return map[string]swarm{
		"pings in JSON":                  {"json", holdJSON, longJSON, tickJSON + strings.Repeat(pingJSON, mib/len(pingJSON)), 1},
		"sends in JSON":                  {"json", holdJSON, longJSON, strings.Repeat(tickJSON, mib/len(tickJSON)), mib / len(tickJSON)},
		"pings and sends in JSON":        {"json", holdJSON, longJSON, strings.Repeat(mixed, mib/len(mixed)), mib / len(mixed)},
		"pings in MessagePack":           {"messagepack", holdPack, longPack, tickPack + strings.Repeat(pingPack, mib/len(pingPack)), 1},
		"pings and sends in MessagePack": {"messagepack", holdPack, longPack, strings.Repeat(mixedPack, mib/len(mixedPack)), mib / len(mixedPack)},
	}
}

// What the messages of one read are made into costs no more than the client may have waiting, however small they are.
func TestSmallMessagesInOneReadCostNoMoreThanTheirLimit(t *testing.T) {
	const inbound = mib
	limit := 2*inbound + 2*mib + 2*mib // what may wait, memory that was read into (a megabyte makes it two), and all the rest
	for name, s := range swarms() {
		for _, transport := range []hubsys.Transports{hubsys.WebSockets, hubsys.LongPolling} {
			t.Run(fmt.Sprint(name, " by ", transport), func(t *testing.T) {
				w := newWorld(t, setup{
					HubOptions:      hubsys.HubOptions{MaximumReceiveMessageSize: mib, InboundLimit: inbound},
					EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose},
				})
				held, goOn := make(chan struct{}), make(chan struct{})
				letGo := sync.OnceFunc(func() { close(goOn) })
				t.Cleanup(letGo)
				w.on("hold", func(context.Context, *lab, []json.RawMessage) (any, error) { close(held); <-goOn; return nil, nil })
				var ticks atomic.Int64
				w.on("tick", counter(&ticks))
				p, body, first, second := s.over(w, transport)
				wait(t, held)
				all := body(first, second)
				before := heap()
				failed := make(chan error, 1)
				go func() { failed <- p.write(all) }()
				grown := most(p.sent.Load) - before
				require.LessOrEqual(t, grown, limit, "%d MB for a message of %d MB", grown/mib, len(all)/mib)
				letGo()
				require.NoError(t, wait(t, failed))
				eventually(t, func() bool { return ticks.Load() == int64(s.ticks) }, "all calls run: %d", s.ticks)
			})
		}
	}
}

// over opens a connection whose method is held up, and says how what it sends then is put: in two frames of one message, the second of
// which begins with the end of the long record, or in one body.
func (s swarm) over(w *world, transport hubsys.Transports) (p *raw, body func(first, second string) string, first, second string) {
	w.t.Helper()
	cut := len(s.long) - 10
	first, second = s.long[:cut], s.long[cut:]+s.tiny
	if transport == hubsys.WebSockets {
		opcode := byte(textFrame)
		if s.protocol == "messagepack" {
			opcode = binaryFrame
		}
		p = socket(w.t, w.url, s.protocol)
		p.mustWrite(masked(opcode, s.hold))
		return p, func(first, second string) string {
			return fragment(opcode, false, first) + fragment(0, true, second)
		}, first, second
	}
	query := poller(w.t, w.url, s.protocol)
	status, _ := roundTrip(w.t, http.MethodPost, w.url+query, s.hold, nil)
	require.Equal(w.t, http.StatusOK, status)
	p = connect(w.t, w.url)
	go func() { _, _ = io.Copy(io.Discard, p.r) }()
	return p, func(first, second string) string {
		return p.request(http.MethodPost, query, fmt.Sprintf("Content-Length: %d\r\n", len(first)+len(second))) + first + second
	}, first, second
}
