// chat is a chat with login, rooms, presence, an admin and a rate limit: SECRET=$(openssl rand -hex 32) go run ./examples/chat
// A client logs in by POST /login?user=NAME, connects to /chat with the token, and calls enter, say, leave; ada may call kick.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/jwtauth"
	"github.com/troupe-go/troupe/hubsys/presence"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Line is something that somebody has said.
type Line struct{ From, Text string }

var said, present = typed.Message2[string, Line]("said"), typed.Message2[string, []string]("present") // what clients are told, of which room

// Chat is the hub.
type Chat struct {
	hubsys.Hub
	desk *desk
}

// Enter lets the caller into a room. A second tab of a user, or a reload, changes nothing for the others, but has to be told who is there.
func (c *Chat) Enter(ctx context.Context, room string) error {
	if err := c.Groups().Join(ctx, room); err != nil {
		return err
	}
	return c.desk.tell(ctx, c.Clients().Caller().NoWait(), room)
}

// Leave lets the caller out of a room.
func (c *Chat) Leave(ctx context.Context, room string) error { return c.Groups().Leave(ctx, room) }

// Say tells everybody in a room.
func (c *Chat) Say(ctx context.Context, room, text string) error {
	return said.Send(ctx, c.Clients().Group(room), room, Line{c.Call().UserID(), text})
}

// Kick closes all connections of a user. The options of the hub reserve it to admins.
func (c *Chat) Kick(ctx context.Context, user, why string) error {
	return c.Clients().User(user).Disconnect(ctx, why)
}

const limiter = hubsys.Item[*rate.Limiter]("limiter")

// limited lets each connection make five calls a second.
func limited(next hubsys.Handler) hubsys.Handler {
	h := next
	h.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
		if !limiter.LoadOrMake(in.Call(), func() *rate.Limiter { return rate.NewLimiter(5, 10) }).Allow() {
			return nil, hubsys.Errorf("Slow down.")
		}
		return next.Invoke(ctx, in)
	}
	return h
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to serve")
	flag.Parse()
	secret := []byte(os.Getenv("SECRET"))
	if len(secret) < 32 {
		check(errors.New("SECRET has to have at least 32 bytes"))
	}
	log.Fatal(http.ListenAndServe(*addr, newHandler(secret)))
}

func newHandler(secret []byte) http.Handler {
	auth, err := jwtauth.New(jwtauth.Config{Secret: secret, Algorithms: []string{"HS256"}, Issuer: "chat", Audience: []string{"chat"}})
	check(err)
	sys, err := hubsys.New(hubsys.Config{})
	check(err)
	desk := &desk{}
	chat, err := hubsys.Register(sys, func(context.Context) (*Chat, error) { return &Chat{desk: desk}, nil }, hubsys.HubOptions{
		Policy: hubsys.RequireUser, Filters: []hubsys.Filter{limited},
		Methods: []hubsys.Method{{Func: (*Chat).Kick, Policy: hubsys.RequireRole("admin")}},
	})
	check(err)
	desk.here = presence.Track(context.Background(), chat, presence.Options{Grace: time.Second})
	go desk.run(context.Background(), chat)
	check(chat.Map("/chat", hubsys.EndpointOptions{Authenticate: auth.Authenticate}))
	mux := http.NewServeMux()
	for _, pattern := range sys.Patterns() {
		mux.Handle(pattern, sys)
	}
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user := r.FormValue("user") // a real program asks for a password
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": user, "iss": "chat", "aud": "chat", "exp": time.Now().Add(time.Hour).Unix(), "roles": map[string]string{"ada": "admin"}[user],
		}).SignedString(secret)
		check(err)
		_, _ = w.Write([]byte(token))
	})
	return mux
}

// desk tells who is in a room.
type desk struct {
	here *presence.Tracker
	mu   sync.Mutex // whoever is told several times is told the latest last
}

func (d *desk) tell(ctx context.Context, to hubsys.Receiver, room string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return present.Send(ctx, to, room, d.here.Users(room))
}

// run tells everybody in a room that somebody has come or gone.
func (d *desk) run(ctx context.Context, chat *hubsys.HubContext) {
	for change := range d.here.Watch(ctx) {
		_ = d.tell(ctx, chat.Clients().Group(change.Group).NoWait(), change.Group)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
