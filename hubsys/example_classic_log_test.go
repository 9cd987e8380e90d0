package hubsys_test

import (
	"errors"
	"log/slog"
	"os"

	"github.com/troupe-go/troupe/hubsys"
)

// LogHub is a hub that fails.
type LogHub struct{ hubsys.Hub }

// Fail fails.
func (h *LogHub) Fail() error { return errors.New("no disk") }

// Refuse fails with an error for the client.
func (h *LogHub) Refuse() error { return hubsys.Errorf("not now") }

// Square has a parameter.
func (h *LogHub) Square(n int) int { return n * n }

// What happens is logged by package log/slog. What clients can cause at will is logged at the level Debug.
func ExampleConfig_logger() {
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: &level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "connection" { // so that the output of this example is the same each time
			return slog.Attr{}
		}
		return a
	}}))
	sys := must(hubsys.New(hubsys.Config{Logger: logger}))
	must(hubsys.Register[*LogHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "logHub")
	page.invoke("logHub.fail")
	page.invoke("logHub.refuse") // which is not logged
	level.Set(slog.LevelDebug)
	page.invoke("logHub.refuse")
	page.invoke("logHub.missing")
	page.invoke("logHub.fail", 1)
	page.invoke("logHub.square", "x")
	newPage(address+"/signalr", "lockHub").client.request("GET", "/negotiate", nil, nil)
	level.Set(slog.LevelWarn)
	// Output:
	// level=WARN msg="there are no Config.Keys: clients of SignalR 2 cannot reconnect to a server that is started again, nor to another one"
	// level=ERROR msg="a hub method failed" hub=LogHub method=Fail error="no disk"
	// level=DEBUG msg="a hub method failed" hub=LogHub method=Refuse error="not now"
	// level=DEBUG msg="an unknown method was called" hub=LogHub method=missing
	// level=DEBUG msg="arguments do not fit" hub=LogHub method=Fail error="no Fail takes 1 arguments"
	// level=DEBUG msg="arguments do not fit" hub=LogHub method=Square error="Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked." cause="argument 1 does not fit int: json: cannot unmarshal string into Go value of type int"
	// level=DEBUG msg="a request of a SignalR 2 client was refused" transport.path=/signalr/negotiate transport.status=500 transport.error="there is no hub \"lockHub\""
}
