package main

import (
	"context"
	"math"
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
	if err := moveTo(ctx, s.Call(), *node); err != nil {
		return err
	}
	return prices.Send(ctx, s.Clients().Caller(), market(time.Now()))
}

// OnReconnected does the same for a client of SignalR 2, which may have come from another node.
func (s *Stocks) OnReconnected(ctx context.Context) error { return s.OnConnected(ctx) }

// tick tells those who are connected to this node how the market moves. It runs outside of any hub.
func tick(ctx context.Context, stocks *hubsys.HubContext) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := prices.Send(ctx, stocks.Clients().Group(*node), market(now)); err != nil {
				return
			}
		}
	}
}

// opened is what four companies cost that nobody has heard of.
var opened = []Stock{{Symbol: "ACTR", Price: 118.2}, {Symbol: "GRUP", Price: 46.75}, {Symbol: "HUBS", Price: 301.1}, {Symbol: "TRPE", Price: 77.4}}

// market returns the prices at a time. They follow from the time alone, so that all nodes have the same.
func market(at time.Time) []Stock {
	stocks := make([]Stock, len(opened))
	for i, s := range opened {
		wave := 0.0
		for k, period := range []float64{7, 31, 127, 1009} { // seconds
			wave += math.Sin(2*math.Pi*float64(at.UnixMilli())/1000/period + float64(i*(k+1)))
		}
		price := round(s.Price * (1 + wave/100))
		stocks[i] = Stock{Symbol: s.Symbol, Price: price, Change: round((price/s.Price - 1) * 100)}
	}
	return stocks
}

func round(f float64) float64 { return math.Round(f*100) / 100 }
