package main

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Stock is what the ticker shows.
type Stock struct {
	Symbol string  `json:"symbol"`
	Price  float64 `json:"price"`
	Change float64 `json:"change"` // since the market was opened, in percent
}

var prices = typed.Message1[[]Stock]("prices")

// Stocks is the hub of the ticker. It has nothing to call: its clients listen.
type Stocks struct{ hubsys.Hub }

// OnConnected shows the prices as they are.
func (s *Stocks) OnConnected(ctx context.Context) error {
	return prices.Send(ctx, s.Clients().Caller(), market.now())
}

// tick moves the market, and tells everybody. It runs outside of any hub.
func tick(ctx context.Context, stocks *hubsys.HubContext) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := prices.Send(ctx, stocks.Clients().All(), market.move()); err != nil {
				return
			}
		}
	}
}

// exchange is a market of four companies that nobody has heard of.
type exchange struct {
	mu     sync.Mutex
	opened []float64
	stocks []Stock
}

var market = open(Stock{Symbol: "ACTR", Price: 118.2}, Stock{Symbol: "GRUP", Price: 46.75}, Stock{Symbol: "HUBS", Price: 301.1}, Stock{Symbol: "TRPE", Price: 77.4})

func open(stocks ...Stock) *exchange {
	e := &exchange{stocks: stocks}
	for _, s := range stocks {
		e.opened = append(e.opened, s.Price)
	}
	return e
}

func (e *exchange) now() []Stock {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Stock(nil), e.stocks...)
}

func (e *exchange) move() []Stock {
	e.mu.Lock()
	for i := range e.stocks {
		s := &e.stocks[i]
		s.Price = round(s.Price * (1 + rand.NormFloat64()/300))
		s.Change = round((s.Price/e.opened[i] - 1) * 100)
	}
	e.mu.Unlock()
	return e.now()
}

func round(f float64) float64 { return math.Round(f*100) / 100 }
