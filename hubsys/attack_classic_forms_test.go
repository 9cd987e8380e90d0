package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The form of a request may be large, and is not kept for as long as the request waits: for messages, or for the method that it calls.
func TestFormsOfClassicRequestsThatWaitAreNotKept(t *testing.T) {
	const requests, most = 50, 48 << 10
	srv := newClassicServer(t, classicConfig{})
	running, release := make(chan struct{}, requests), make(chan struct{})
	unblock := sync.OnceFunc(func() { close(release) })
	defer unblock()
	srv.handle("wait", func(context.Context, *classicHub, []json.RawMessage) (any, error) {
		running <- struct{}{}
		<-release
		return nil, nil
	})
	post := func(what, form string) *rawConn {
		c := newClassicClient(t, srv.address, "longPolling")
		c.negotiate()
		query := url.Values{"clientProtocol": {c.version}, "connectionData": {c.hubs}, "transport": {c.transport}, "connectionToken": {c.token}}
		p := dialTCP(t, srv.address+what+"?"+query.Encode())
		p.mustWrite(p.request(http.MethodPost, "", "Content-Length: "+strconv.Itoa(len(form))+"\r\n") + form)
		return p
	}
	rest := "&rest=" + strings.Repeat("A", 180<<10)
	for what, wait := range map[string]func(p *rawConn){
		"/poll": func(p *rawConn) { require.Equal(t, http.StatusOK, p.response().StatusCode) },
		"/send": func(*rawConn) { receive(t, running) },
	} {
		before := heapInUse()
		for range requests {
			wait(post(what, "data="+url.QueryEscape(`{"H":"chat","M":"Do","A":["wait",[]],"I":1}`)+rest))
		}
		requireHeapSettles(t, before, requests*most, what)
	}
	runtime.KeepAlive(srv)
}
