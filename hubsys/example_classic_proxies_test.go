package hubsys_test

import (
	"context"
	"fmt"
	"os"
	"regexp"

	"github.com/troupe-go/troupe/hubsys"
)

// MapHub is a hub of which pages have a proxy.
type MapHub struct{ hubsys.Hub }

// MoveShape is what the proxy has as moveShape.
func (h *MapHub) MoveShape(x, y int) {}

// ZoomTo is what the proxy has as zoomTo.
func (h *MapHub) ZoomTo(level float64) {}

// The proxies that pages load from /signalr/hubs can be written to a file, when a program is built or starts.
func ExampleSystem_WriteClassicProxies() {
	sys := must(hubsys.New(hubsys.Config{}))
	defer sys.Shutdown(context.Background())
	must(hubsys.Register[*MapHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{DisableProxies: true}))

	file := must(os.CreateTemp("", "server.*.js")) // os.Create("web/server.js")
	defer os.Remove(file.Name())
	check(sys.WriteClassicProxies(file, "/signalr"))
	check(file.Close())

	script := must(os.ReadFile(file.Name()))
	fmt.Println(string(regexp.MustCompile(`"mapHub".*`).Find(script)))
	fmt.Println(string(regexp.MustCompile(`\$\.hubConnection\(.*`).Find(script)))
	// Output:
	// "mapHub": {"moveShape": "MoveShape", "zoomTo": "ZoomTo"}
	// $.hubConnection("/signalr", { useDefaultPath: false });
}
