package hubsys_test

import (
	"context"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// Trip is an object of clients. Its members have the names of its fields, or those of their tags.
type Trip struct {
	From, To string
	Leaves   time.Time
	Seats    map[string]int
	Stops    []Stop
	Note     *string `json:"note"`
}

// Stop is an object in another one.
type Stop struct {
	Place   string
	Minutes float64
}

// TripHub takes and returns objects.
type TripHub struct{ hubsys.Hub }

// Plan takes an object, and sends another one. Members are found in any case, and those that are missing are zero.
func (h *TripHub) Plan(ctx context.Context, trip Trip, passengers int) (Trip, error) {
	trip.Seats = map[string]int{"free": 50 - passengers}
	trip.Leaves = trip.Leaves.Add(time.Hour)
	return trip, h.Clients().All().Send(ctx, "planned", trip.Stops, trip.Note)
}

// Objects are structs, as encoding/json knows them, in both directions. Members have the names that Go has, as they have the names of C# there.
func ExampleRegister_objects() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*TripHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "tripHub")
	trip := map[string]any{ // as JavaScript writes it
		"From": "Oslo", "to": "Bergen", "leaves": "2026-05-17T08:00:00Z",
		"stops": []any{map[string]any{"place": "Voss", "minutes": 2.5}},
	}
	fmt.Println(page.invoke("tripHub.plan", trip, "7")) // "7" is taken for a number
	fmt.Println(page.receive())
	// Output:
	// {"From":"Oslo","To":"Bergen","Leaves":"2026-05-17T09:00:00Z","Seats":{"free":43},"Stops":[{"Place":"Voss","Minutes":2.5}],"note":null}
	// TripHub.planned[[{"Place":"Voss","Minutes":2.5}],null]
}
