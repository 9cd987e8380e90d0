package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// ReportHub is a hub whose reports are not there yet.
type ReportHub struct{ hubsys.Hub }

// Yearly fails.
func (h *ReportHub) Yearly(year int) error { return fmt.Errorf("report %d: %w", year, os.ErrNotExist) }

// There can be several paths, each with options of its own. They serve the same hubs and clients.
func ExampleSystem_MapClassic_options() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*ReportHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	check(sys.MapClassic("/partners/signalr", hubsys.ClassicOptions{
		EnableDetailedErrors:    true,
		EnableJSONP:             true,
		DisableProxies:          true,
		AllowedOrigins:          []string{"https://partner.example"},
		DisconnectTimeout:       60 * time.Second,
		KeepAlive:               15 * time.Second,
		ConnectionTimeout:       90 * time.Second,
		TransportConnectTimeout: 10 * time.Second,
		LongPollDelay:           500 * time.Millisecond,
	}))
	address, stop := listen(sys)
	defer stop()

	for _, path := range []string{"/signalr", "/partners/signalr"} {
		page := newPage(address+path, "reportHub")
		page.client.header.Set("Origin", "https://partner.example")
		page.start()
		fmt.Println(path)
		fmt.Println("- error:", page.invoke("reportHub.yearly", 2026))
		_, script := page.client.request("GET", "/hubs", nil, nil)
		fmt.Println("- proxies:", len(script) > 1000)
		status, _ := page.client.request("GET", "/ping", url.Values{"callback": {"show"}}, nil)
		fmt.Println("- JSONP:", status)
		negotiation := page.client.do(context.Background(), "GET", "/negotiate", nil, nil)
		fmt.Printf("- CORS: %q\n", negotiation.Header.Get("Access-Control-Allow-Origin"))
		var times struct{ KeepAliveTimeout, DisconnectTimeout, ConnectionTimeout, TransportConnectTimeout, LongPollDelay float64 }
		check(json.NewDecoder(negotiation.Body).Decode(&times))
		fmt.Printf("- %+v\n", times)
	}
	// Output:
	// /signalr
	// - error: There was an error invoking Hub method 'reportHub.yearly'.
	// - proxies: true
	// - JSONP: 403
	// - CORS: ""
	// - {KeepAliveTimeout:20 DisconnectTimeout:30 ConnectionTimeout:110 TransportConnectTimeout:5 LongPollDelay:0}
	// /partners/signalr
	// - error: report 2026: file does not exist
	// - proxies: false
	// - JSONP: 200
	// - CORS: "https://partner.example"
	// - {KeepAliveTimeout:30 DisconnectTimeout:60 ConnectionTimeout:90 TransportConnectTimeout:10 LongPollDelay:0.5}
}
