package hubsys_test

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Stock is what clients of the ticker see.
type Stock struct {
	Symbol string
	Price  float64
}

// UpdateStock and MarketClosed are what the ticker calls at its clients.
var (
	UpdateStock  = typed.Message1[Stock]("updateStock")
	MarketClosed = typed.Message0("marketClosed")
)

// TickerHub is a hub with typed messages.
type TickerHub struct{ hubsys.Hub }

// Sell changes a price.
func (h *TickerHub) Sell(ctx context.Context, symbol string, price float64) error {
	if err := UpdateStock.Send(ctx, h.Clients().All(), Stock{symbol, price}); err != nil {
		return err
	}
	return MarketClosed.Send(ctx, h.Clients().Caller())
}

// A message that is declared once is checked by the compiler wherever it is sent, and reaches clients of both dialects, each in its own form.
func ExampleReceiver_typed() {
	sys := must(hubsys.New(hubsys.Config{}))
	ticker := must(hubsys.Register[*TickerHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	check(ticker.Map("/ticker", hubsys.EndpointOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "tickerHub")
	other := connectClient(address+"/ticker", "")
	defer other.close()
	page.invoke("tickerHub.sell", "ACME", 12.5)
	fmt.Println(page.receive())
	fmt.Println(page.receive())
	fmt.Println(other.receiveInvocation())
	// Output:
	// TickerHub.updateStock[{"Symbol":"ACME","Price":12.5}]
	// TickerHub.marketClosed[]
	// updateStock[map[price:12.5 symbol:ACME]]
}
