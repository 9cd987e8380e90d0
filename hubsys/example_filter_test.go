package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// Shop is a hub for orders.
type Shop struct {
	hubsys.Hub
	tx *Tx // of the call, where there is one
}

// Order is what clients send.
type Order struct {
	Item   string
	Amount int
}

// Validate says what is wrong with an order.
func (o Order) Validate() error {
	if o.Amount < 1 {
		return errors.New("the amount is below 1")
	}
	return nil
}

// Buy takes an order.
func (s *Shop) Buy(o Order) string { return fmt.Sprintf("%d of %s", o.Amount, o.Item) }

// Fail fails.
func (s *Shop) Fail() error { return hubsys.Errorf("sold out") }

// A logging filter notes each call, how it has ended, and usually how long it took.
func ExampleFilter() {
	logging := func(next hubsys.Handler) hubsys.Handler {
		invoke := next.Invoke
		next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			start := time.Now()
			result, err := invoke(ctx, in)
			fmt.Printf("%s%v: %v, within a minute: %v\n", in.Method(), in.Args(), err, time.Since(start) < time.Minute)
			return result, err
		}
		return next
	}
	c, stop := startShop(nil, hubsys.HubOptions{Filters: []hubsys.Filter{logging}})
	defer stop()
	c.ask("buy", Order{"apples", 3})
	c.ask("fail")
	// Output:
	// Buy[{apples 3}]: <nil>, within a minute: true
	// Fail[]: sold out, within a minute: true
}

// bucket holds the calls that a client may still make at once.
type bucket struct {
	mu     sync.Mutex
	tokens float64
	filled time.Time
}

// take takes a token, if there is one. They come back at a rate per second, until there are most.
func (b *bucket) take(rate, most float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(most, b.tokens+rate*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// A filter that limits the rate of calls keeps its state with each connection.
func ExampleFilter_rateLimit() {
	const perHour, most = 1, 2
	buckets := hubsys.Item[*bucket]("example.com/shop/bucket")
	limit := func(next hubsys.Handler) hubsys.Handler {
		invoke := next.Invoke
		next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			b := buckets.LoadOrMake(in.Call(), func() *bucket { return &bucket{tokens: most, filled: time.Now()} })
			if !b.take(perHour/time.Hour.Seconds(), most) {
				return nil, hubsys.Errorf("too many calls")
			}
			return invoke(ctx, in)
		}
		return next
	}
	c, stop := startShop(nil, hubsys.HubOptions{Filters: []hubsys.Filter{limit}})
	defer stop()
	for range 3 {
		fmt.Println(c.ask("Buy", Order{"apples", 1}))
	}
	// Output:
	// 1 of apples
	// 1 of apples
	// An unexpected error occurred invoking 'Buy' on the server. HubException: too many calls
}

// A filter validates the arguments that can say what is wrong with them.
func ExampleFilter_validation() {
	validation := func(next hubsys.Handler) hubsys.Handler {
		invoke := next.Invoke
		next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			for i, arg := range in.Args() {
				if v, ok := arg.(interface{ Validate() error }); ok {
					if err := v.Validate(); err != nil {
						return nil, hubsys.Errorf("argument %d: %w", i+1, err)
					}
				}
			}
			return invoke(ctx, in)
		}
		return next
	}
	c, stop := startShop(nil, hubsys.HubOptions{Filters: []hubsys.Filter{validation}})
	defer stop()
	fmt.Println(c.ask("Buy", Order{"apples", 2}))
	fmt.Println(c.ask("Buy", Order{"apples", 0}))
	// Output:
	// 2 of apples
	// An unexpected error occurred invoking 'Buy' on the server. HubException: argument 1: the amount is below 1
}

// Tx stands for a transaction of a database.
type Tx struct{ committed bool }

// Commit ends the transaction.
func (tx *Tx) Commit() { fmt.Println("commit"); tx.committed = true }

// Rollback does nothing behind Commit.
func (tx *Tx) Rollback() {
	if !tx.committed {
		fmt.Println("roll back")
	}
}

// Reserve commits the transaction of its call unless there is too much to reserve.
func (s *Shop) Reserve(amount int) error {
	if amount > 10 {
		return hubsys.Errorf("sold out")
	}
	s.tx.Commit()
	return nil
}

// The constructor of a hub opens a transaction for each call of Reserve, which ends with the call whatever happens.
func ExampleCall_Cleanup() {
	create := func(ctx context.Context) (*Shop, error) {
		shop := &Shop{}
		if call, ok := hubsys.CallFrom(ctx); ok && call.Method() == "Reserve" {
			shop.tx = &Tx{}
			call.Cleanup(shop.tx.Rollback)
		}
		return shop, nil
	}
	c, stop := startShop(create, hubsys.HubOptions{})
	defer stop()
	fmt.Println(c.ask("Reserve", 5))
	fmt.Println(c.ask("Reserve", 50))
	// Output:
	// commit
	// <nil>
	// roll back
	// An unexpected error occurred invoking 'Reserve' on the server. HubException: sold out
}

// Prices is a service of the shop.
type Prices map[string]int

// Price has a parameter that clients do not send.
func (s *Shop) Price(prices hubsys.From[Prices], item string) int { return prices.Value[item] }

// A parameter of the type From is filled by the services of the hub.
func ExampleFrom() {
	c, stop := startShop(nil, hubsys.HubOptions{Services: hubsys.Fields(struct{ Prices Prices }{Prices{"apples": 3}})})
	defer stop()
	fmt.Println(c.ask("Price", "apples"))
	// Output:
	// 3
}

// startShop serves a Shop, and connects a client.
func startShop(create func(context.Context) (*Shop, error), options hubsys.HubOptions) (c *exampleClient, stop func()) {
	if options.Services == nil {
		options.Services = hubsys.Fields(struct{ Prices Prices }{Prices{}})
	}
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	shop, err := hubsys.Register(sys, create, options)
	if err != nil {
		log.Fatal(err)
	}
	if err := shop.Map("/shop", hubsys.EndpointOptions{}); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sys)
	c = connectClient(server.URL+"/shop", "")
	return c, func() {
		c.close()
		if err := sys.Shutdown(context.Background()); err != nil {
			log.Fatal(err)
		}
		server.Close()
	}
}

// ask calls a method, and returns its result, or its error as text.
func (c *exampleClient) ask(method string, args ...any) any {
	record, err := json.Marshal(map[string]any{"type": 1, "invocationId": "ask", "target": method, "arguments": append([]any{}, args...)})
	if err != nil {
		log.Fatal(err)
	}
	c.send(string(record))
	for {
		var m struct {
			Type   int
			Result any
			Error  string
		}
		if err := json.Unmarshal([]byte(c.receive()), &m); err != nil {
			log.Fatal(err)
		}
		if m.Type == 3 && m.Error != "" {
			return m.Error
		}
		if m.Type == 3 {
			return m.Result
		}
	}
}
