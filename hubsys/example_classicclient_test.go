package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/troupe-go/troupe/hubsys"
)

// examplePage is what Examples have in place of a page with the jQuery client of SignalR 2. It receives over Server-Sent Events, and calls by POST.
type examplePage struct {
	client *classicClient
	state  map[string]any // of its proxies
	calls  int
}

// newPage returns a page that uses hubs and has not started, so that its client can be given headers and a query.
func newPage(address string, hubs ...string) *examplePage {
	client := newClassicClient(exampleT{}, address, "serverSentEvents")
	client.hubs = `[{"name":"` + strings.Join(hubs, `"},{"name":"`) + `"}]`
	return &examplePage{client: client, state: map[string]any{}}
}

// openPage returns a page that has started.
func openPage(address string, hubs ...string) *examplePage { return newPage(address, hubs...).start() }

func (p *examplePage) start() *examplePage {
	p.client.negotiate()
	p.client.connect()
	p.client.start()
	return p
}

// moveTo has the page lose its connection, and reconnect, perhaps to another server.
func (p *examplePage) moveTo(address string) {
	p.client.drop()
	p.client = p.client.again(address)
	p.client.reconnect()
}

// invoke calls a method, such as chat.send, and returns the result as JSON, or the error.
func (p *examplePage) invoke(method string, args ...any) string {
	hub, name, _ := strings.Cut(method, ".")
	p.calls++
	call := must(json.Marshal(map[string]any{"H": hub, "M": name, "A": append([]any{}, args...), "I": p.calls, "S": p.state}))
	a := p.client.invokeText(strconv.Itoa(p.calls), string(call))
	p.merge(a.S)
	if a.E != nil {
		return strings.TrimSpace(*a.E + " " + string(a.D))
	}
	return string(a.R)
}

// receive returns the next call of a function of the page, such as Chat.received["hello"], or the next progress.
func (p *examplePage) receive() string {
	var m struct {
		H, M string
		A, S json.RawMessage
		P    struct{ D json.RawMessage }
	}
	check(json.Unmarshal([]byte(p.client.next()), &m))
	p.merge(m.S)
	if m.P.D != nil {
		return "progress " + string(m.P.D)
	}
	return m.H + "." + m.M + string(m.A)
}

func (p *examplePage) merge(state json.RawMessage) {
	if state != nil {
		check(json.Unmarshal(state, &p.state))
	}
}

type exampleT struct{} // a classicT

func (exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (exampleT) FailNow()                          {}
func (exampleT) Helper()                           {}
func (exampleT) Cleanup(func())                    {}

// listen stands for http.ListenAndServe, and stop for the end of a program.
func listen(sys *hubsys.System) (address string, stop func()) {
	server := httptest.NewServer(noteSecrets(sys))
	return server.URL, func() {
		check(sys.Shutdown(context.Background()))
		server.Close()
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
