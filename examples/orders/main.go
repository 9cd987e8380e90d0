// orders is an order book that one actor keeps for all clients: its state needs no lock.
//
//	go run ./examples/orders
//
// A client connects to /orders, and calls watch("ACME") and place({symbol: "ACME", buy: true, price: 10, amount: 5}).
package main

import (
	"context"
	"flag"
	"log"
	"net/http"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Order is an offer to buy or to sell.
type Order struct {
	Symbol        string
	Buy           bool
	Price, Amount int
	owner         string // a connection
}

// Trade is a match of two orders.
type Trade struct {
	Symbol        string
	Price, Amount int
}

// What clients can call.
type (
	Place struct{ Order Order }   // place(order) returns what is left of the order
	Watch struct{ Symbol string } // watch(symbol) returns the open orders
)

// What clients are told.
var (
	traded = typed.Message1[Trade]("traded") // those who watch the symbol
	filled = typed.Message1[Trade]("filled") // the owner of an order
)

// Book is the actor.
type Book struct {
	clients hubsys.Clients
	open    map[string][]Order // by symbol
}

// Receive handles calls one after the other.
func (b *Book) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *hubactor.Call[Place]:
		left, err := b.place(m.Args.Order, m.ConnectionID())
		m.Return(left, err)
	case *hubactor.Call[Watch]:
		err := m.Groups().Join(m.Context(), m.Args.Symbol)
		m.Return(append([]Order{}, b.open[m.Args.Symbol]...), err)
	case *hubactor.Disconnected:
		b.forget(m.ConnectionID())
	}
}

// forget removes the orders of an owner.
func (b *Book) forget(owner string) {
	for symbol, orders := range b.open {
		b.keep(symbol, without(orders, owner))
	}
}

func (b *Book) place(order Order, owner string) (left int, err error) {
	if order.Symbol == "" || order.Price <= 0 || order.Amount <= 0 {
		return 0, hubsys.Errorf("An order has a symbol, a price and an amount.")
	}
	order.owner = owner
	var open []Order
	for _, other := range b.open[order.Symbol] {
		amount := min(order.Amount, other.Amount)
		if crosses := order.Buy && order.Price >= other.Price || !order.Buy && order.Price <= other.Price; other.Buy != order.Buy && crosses && amount > 0 {
			trade := Trade{order.Symbol, other.Price, amount}
			order.Amount, other.Amount = order.Amount-amount, other.Amount-amount
			b.tell(trade, order.owner, other.owner)
		}
		if other.Amount > 0 {
			open = append(open, other)
		}
	}
	if order.Amount > 0 {
		open = append(open, order)
	}
	b.keep(order.Symbol, open)
	return order.Amount, nil
}

// keep keeps the open orders of a symbol. One without any is forgotten: clients make them up.
func (b *Book) keep(symbol string, open []Order) {
	if len(open) == 0 {
		delete(b.open, symbol)
	} else {
		b.open[symbol] = open
	}
}

// tell does not wait: an actor that waited for a slow client would keep all others waiting.
func (b *Book) tell(trade Trade, owners ...string) {
	_ = filled.Send(context.Background(), b.clients.Clients(owners...).NoWait(), trade)
	_ = traded.Send(context.Background(), b.clients.Group(trade.Symbol).NoWait(), trade)
}

func without(orders []Order, owner string) (rest []Order) {
	for _, o := range orders {
		if o.owner != owner {
			rest = append(rest, o)
		}
	}
	return rest
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to serve")
	flag.Parse()
	sys, err := hubsys.New(hubsys.Config{})
	check(err)
	orders, err := hubactor.Register(sys, hubactor.Hub{
		Scope:   hubactor.Shared,
		Methods: []hubactor.Method{hubactor.Receive[Place]("place"), hubactor.Receive[Watch]("watch")},
		Props: func(hub *hubsys.HubContext) *actor.Props {
			return actor.PropsFromProducer(func() actor.Actor { return &Book{hub.Clients(), map[string][]Order{}} })
		},
	}, hubsys.HubOptions{Name: "orders"})
	check(err)
	check(orders.Map("/orders", hubsys.EndpointOptions{}))
	log.Print("orders listens on http://", *addr)
	log.Fatal(http.ListenAndServe(*addr, sys))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
