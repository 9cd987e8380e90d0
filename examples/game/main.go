// game is a game room that is an actor beside each group: it moves its players twenty times a second.
//
//	go run ./examples/game
//
// A client connects to /game, and calls enter("room") and steer("room", dx, dy); it is told state(n, {id: {x, y, dx, dy}}).
package main

import (
	"context"
	"flag"
	"log"
	"math"
	"net/http"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
	"github.com/troupe-go/troupe/hubsys/typed"
)

const (
	ticksPerSecond = 20
	fastest        = 100 // a second
)

// Ball is a player: where, and how fast.
type Ball struct{ X, Y, DX, DY float64 }

var state = typed.Message2[int, map[string]Ball]("state")

// Messages to a room, besides those of package hubactor.
type (
	tick  struct{}
	steer struct {
		id     string
		dx, dy float64
	}
)

// Room is the actor of one group. It is there before its first player, and stops behind the last one.
type Room struct {
	all   hubsys.Audience
	balls map[string]Ball // by connection
	n     int
}

// Receive handles messages one after the other.
func (r *Room) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		hubactor.Tick(c, time.Second/ticksPerSecond, tick{})
	case *hubactor.Joined:
		r.balls[m.ConnectionID] = Ball{}
	case *hubactor.Left:
		delete(r.balls, m.ConnectionID)
	case steer:
		if b, ok := r.balls[m.id]; ok {
			r.balls[m.id] = Ball{b.X, b.Y, m.dx, m.dy}
		}
	case tick:
		r.n++
		for id, b := range r.balls {
			r.balls[id] = Ball{b.X + b.DX/ticksPerSecond, b.Y + b.DY/ticksPerSecond, b.DX, b.DY}
		}
		_ = state.Send(context.Background(), r.all, r.n, r.balls) // encoded when Send returns
	}
}

// Game is the hub.
type Game struct {
	hubsys.Hub
	rooms *hubactor.Groups
}

// Enter lets the caller into a room.
func (g *Game) Enter(ctx context.Context, room string) error { return g.Groups().Join(ctx, room) }

// Leave lets the caller out of a room.
func (g *Game) Leave(ctx context.Context, room string) error { return g.Groups().Leave(ctx, room) }

// Steer changes the speed of the caller. Without a limit, one player could get to where JSON has no numbers, and nobody would see anything any more.
func (g *Game) Steer(room string, dx, dy float64) error {
	if speed := math.Hypot(dx, dy); math.IsNaN(speed) || speed > fastest {
		return hubsys.Errorf("A speed is a number up to %d.", fastest)
	}
	if err := g.rooms.Tell(room, steer{g.Call().ConnectionID(), dx, dy}); err != nil {
		return hubsys.Errorf("There is no such room.")
	}
	return nil
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to serve")
	flag.Parse()
	sys := newSystem()
	log.Print("game listens on http://", *addr)
	log.Fatal(http.ListenAndServe(*addr, sys))
}

func newSystem() *hubsys.System {
	sys, err := hubsys.New(hubsys.Config{})
	check(err)
	var rooms *hubactor.Groups // set before Map
	game, err := hubsys.Register(sys, func(context.Context) (*Game, error) { return &Game{rooms: rooms}, nil }, hubsys.HubOptions{})
	check(err)
	rooms, err = hubactor.PerGroup(game, func(group string) *actor.Props {
		return actor.PropsFromProducer(func() actor.Actor {
			return &Room{all: game.Clients().Group(group).NoWait(), balls: map[string]Ball{}}
		})
	})
	check(err)
	check(game.Map("/game", hubsys.EndpointOptions{}))
	return sys
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
