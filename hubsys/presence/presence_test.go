package presence_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/presence"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"), // ends after a second
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewThrottle.func1.1"))
}

// room is a hub whose connections join the groups that are named in their query.
type room struct{ hubsys.Hub }

func (h *room) OnConnected(ctx context.Context) error {
	for _, group := range strings.Fields(h.Call().Request().Query("groups")) {
		if err := h.Groups().Join(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

// env is a System with a hub in a bubble of testing/synctest. Its clients are connected by pipes.
type env struct {
	t   *testing.T
	sys *hubsys.System
	hub *hubsys.HubContext

	pipes  chan net.Conn
	closed chan struct{}
}

// Accept is part of net.Listener, as are the next two.
func (e *env) Accept() (net.Conn, error) {
	select {
	case conn := <-e.pipes:
		return conn, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}
func (e *env) Close() error   { return nil }
func (e *env) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// inBubble runs a test in a bubble, in which the time is a fake one. A goroutine that is left at the end fails the test.
func inBubble(t *testing.T, f func(t *testing.T, e *env)) {
	synctest.Test(t, func(t *testing.T) {
		e := &env{t: t, pipes: make(chan net.Conn), closed: make(chan struct{})}
		var err error
		e.sys, err = hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		e.hub, err = hubsys.Register[*room](e.sys, nil, hubsys.HubOptions{})
		require.NoError(t, err)
		require.NoError(t, e.hub.Map("/room", hubsys.EndpointOptions{Refresh: &hubsys.RefreshOptions{AllowUserChange: true}, Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			return &hubsys.Principal{UserID: r.URL.Query().Get("user")}, nil
		}}))
		server := &http.Server{Handler: e.sys}
		go func() { _ = server.Serve(e) }()
		f(t, e)
		assert.NoError(t, e.sys.Shutdown(context.Background()))
		close(e.closed)
		assert.NoError(t, server.Close())
		time.Sleep(5 * time.Second) // for the goroutine of the dead event throttle, which ends after a second
	})
}

// transport connects HTTP clients to the server.
func (e *env) transport() *http.Transport {
	return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		e.pipes <- theirs
		return ours, nil
	}}
}

// open opens a tab of a user, in some groups. It returns when OnConnected has returned.
func (e *env) open(user, groups string) (closeTab func()) {
	e.t.Helper()
	return e.dial(fmt.Sprintf("user=%s&groups=%s", user, strings.ReplaceAll(groups, " ", "+")))
}

// dial is open for a query.
func (e *env) dial(query string) (closeTab func()) {
	e.t.Helper()
	ws, _, err := websocket.Dial(e.t.Context(), "http://pipe/room?"+query, &websocket.DialOptions{HTTPClient: &http.Client{Transport: e.transport()}})
	require.NoError(e.t, err)
	require.NoError(e.t, ws.Write(e.t.Context(), websocket.MessageText, []byte(`{"protocol":"json","version":1}`+"\x1e")))
	go func() {
		for {
			if _, r, err := ws.Reader(context.Background()); err != nil {
				return
			} else if _, err = io.Copy(io.Discard, r); err != nil {
				return
			}
		}
	}()
	synctest.Wait()
	return func() {
		_ = ws.CloseNow()
		synctest.Wait()
	}
}

// sleep lets time pass.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// recorder records the changes of a watch as texts, such as "g +ada -bob".
type recorder struct {
	mu      sync.Mutex
	changes []string
	ended   chan struct{}
}

func text(change presence.Change) string {
	s := change.Group
	for _, user := range change.Joined {
		s += " +" + user
	}
	for _, user := range change.Left {
		s += " -" + user
	}
	return s
}

// watch records the changes that a tracker tells of some groups until ctx or the tracker ends.
func watch(ctx context.Context, here *presence.Tracker, groups ...string) *recorder {
	r := &recorder{ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		for change := range here.Watch(ctx, groups...) {
			r.mu.Lock()
			r.changes = append(r.changes, text(change))
			r.mu.Unlock()
		}
	}()
	synctest.Wait()
	return r
}

// take returns what has been recorded since the last call.
func (r *recorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	changes := r.changes
	r.changes = nil
	return changes
}

func (r *recorder) hasEnded() bool {
	synctest.Wait()
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func track(e *env, options presence.Options) *presence.Tracker {
	here := presence.Track(e.t.Context(), e.hub, options)
	synctest.Wait()
	return here
}

func TestUsersStayForTheGraceTime(t *testing.T) {
	for grace, want := range map[time.Duration]time.Duration{0: 5 * time.Second, time.Minute: time.Minute, time.Nanosecond: time.Nanosecond} {
		inBubble(t, func(t *testing.T, e *env) {
			here := track(e, presence.Options{Grace: grace})
			r := watch(t.Context(), here)
			closeTab := e.open("ada", "g")
			require.Equal(t, []string{"g +ada"}, r.take())
			closeTab()
			if want > time.Nanosecond {
				sleep(want - time.Nanosecond)
				require.Equal(t, []string{"ada"}, here.Users("g"))
				require.Empty(t, r.take())
			}
			sleep(time.Nanosecond)
			require.Empty(t, here.Users("g"))
			require.Equal(t, []string{"g -ada"}, r.take())
		})
	}
}

func TestReloadDoesNotFlicker(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{})
		r := watch(t.Context(), here)
		closeTab := e.open("ada", "g")
		require.Equal(t, []string{"g +ada"}, r.take())
		for range 3 {
			closeTab()
			sleep(4 * time.Second)
			closeTab = e.open("ada", "g")
			sleep(3 * time.Second) // the grace of the departure is over
			require.Equal(t, []string{"ada"}, here.Users("g"))
		}
		require.Empty(t, r.take())
		closeTab()
		sleep(4 * time.Second)
		e.open("ada", "g")()
		sleep(4 * time.Second) // 8 s after the first departure, 4 s after the second one
		require.Equal(t, []string{"ada"}, here.Users("g"))
		sleep(time.Second)
		require.Equal(t, []string{"g -ada"}, r.take())
		sleep(time.Minute)
		require.Empty(t, r.take())
		e.open("ada", "g")
		require.Equal(t, []string{"g +ada"}, r.take())
	})
}

func TestWithoutGraceUsersLeaveAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{Grace: presence.None})
		r := watch(t.Context(), here)
		for range 3 {
			e.open("ada", "g")()
			require.Equal(t, []string{"g +ada", "g -ada"}, r.take())
			require.Empty(t, here.Users("g"))
		}
	})
}

func TestUsersWithSeveralTabsCountOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{Grace: time.Second})
		r := watch(t.Context(), here)
		first, second := e.open("ada", "g"), e.open("ada", "g h")
		e.open("bob", "g")
		require.Equal(t, []string{"g +ada", "h +ada", "g +bob"}, r.take())
		require.Equal(t, []string{"ada", "bob"}, here.Users("g"))
		first()
		sleep(time.Minute)
		require.Empty(t, r.take())
		second()
		sleep(time.Minute)
		require.ElementsMatch(t, []string{"g -ada", "h -ada"}, r.take())
		require.Equal(t, []string{"bob"}, here.Users("g"))
		require.Empty(t, here.Users("h"))
	})
}

func TestLeavingAGroupCountsAsDeparture(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{Grace: time.Second, Everyone: true})
		e.open("ada", "g")
		require.NoError(t, e.hub.Clients().User("ada").Leave(t.Context(), "g"))
		synctest.Wait()
		require.Equal(t, []string{"ada"}, here.Users("g"))
		sleep(time.Second)
		require.Empty(t, here.Users("g"))
		require.True(t, here.Online("ada"))
		require.NoError(t, e.hub.Clients().User("ada").Join(t.Context(), "g"))
		synctest.Wait()
		require.Equal(t, []string{"ada"}, here.Users("g"))
	})
}

func TestEveryoneIsTrackedAsTheEmptyGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		bob := e.open("bob", "")
		here, groups := track(e, presence.Options{Everyone: true}), track(e, presence.Options{})
		r := watch(t.Context(), here, "")
		require.Equal(t, []string{" +bob"}, r.take())
		e.open("ada", "g")
		require.Equal(t, []string{" +ada"}, r.take())
		require.Equal(t, []string{"ada", "bob"}, here.Users(""))
		require.True(t, here.Online("bob"))
		require.False(t, here.Online("cleo"))
		require.Panics(t, func() { groups.Online("bob") }, "it tracks groups only")
		require.Empty(t, groups.Users(""))
		bob()
		require.True(t, here.Online("bob"))
		sleep(5 * time.Second)
		require.False(t, here.Online("bob"))
		require.Equal(t, []string{" -bob"}, r.take())
	})
}

func TestConnectionsWithoutAUserAreNotCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{Grace: presence.None, Everyone: true})
		r := watch(t.Context(), here)
		closeTab := e.open("", "g")
		require.Empty(t, here.Users("g"))
		require.Empty(t, here.Users(""))
		require.False(t, here.Online(""))
		closeTab()
		require.Empty(t, r.take())
	})
}

func TestWatchOfNamedGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("cleo", "g h i")
		e.open("bob", "g h")
		here := track(e, presence.Options{Grace: presence.None})
		named, all := watch(t.Context(), here, "h", "j", "h"), watch(t.Context(), here)
		require.Equal(t, []string{"h +bob +cleo"}, named.take())
		require.Equal(t, []string{"g +bob +cleo", "h +bob +cleo", "i +cleo"}, all.take())
		closeTab := e.open("ada", "g j")
		require.Equal(t, []string{"j +ada"}, named.take())
		require.ElementsMatch(t, []string{"g +ada", "j +ada"}, all.take())
		closeTab()
		require.Equal(t, []string{"j -ada"}, named.take())
		require.Equal(t, []string{"h +bob +cleo"}, watch(t.Context(), here, "h").take(), "a later watch begins with who is there")
	})
}

func TestChangesThatAreNotTakenAreMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{Grace: presence.None})
		bob := e.open("bob", "g")
		changes := make(chan string)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for change := range here.Watch(ctx) {
				select {
				case changes <- text(change):
				case <-ctx.Done():
				}
			}
		}()
		require.Equal(t, "g +bob", <-changes)
		e.open("zoe", "g") // is taken, and waits in the loop
		for range 3 {
			e.open("guest", "g")() // comes and goes
		}
		bob()
		bob = e.open("bob", "g") // goes and comes
		ada, cleo := e.open("ada", "g"), e.open("cleo", "g h")
		require.Equal(t, "g +zoe", <-changes)
		require.Equal(t, "g +ada +cleo", <-changes)
		synctest.Wait()
		ada()
		cleo()
		require.Equal(t, "h +cleo", <-changes)
		require.Equal(t, "g -ada -cleo", <-changes)
		require.Equal(t, "h -cleo", <-changes)
		bob()
		require.Equal(t, "g -bob", <-changes)
	})
}

func TestWatchAndTrackerEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		trackCtx, endTracker := context.WithCancel(t.Context())
		here := presence.Track(trackCtx, e.hub, presence.Options{Everyone: true})
		other := track(e, presence.Options{})
		e.open("ada", "g")
		for change := range here.Watch(t.Context()) {
			require.Equal(t, " +ada", text(change))
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		a, b, c := watch(ctx, here), watch(t.Context(), here), watch(t.Context(), other)
		require.False(t, a.hasEnded())
		cancel()
		require.True(t, a.hasEnded())
		require.False(t, b.hasEnded())
		for range here.Watch(ctx) {
			require.Fail(t, "a change after the end of the context")
		}
		endTracker()
		require.True(t, b.hasEnded(), "with its tracker")
		require.Equal(t, []string{"ada"}, here.Users("g"), "what it has known last")
		require.True(t, watch(t.Context(), here).hasEnded())
		require.False(t, c.hasEnded())
		require.NoError(t, e.sys.Shutdown(t.Context()))
		require.True(t, c.hasEnded(), "with the System")
	})
}

// Users come and go in many tabs at once. Afterwards everybody knows who is there.
func TestTrackerRacesWithTabs(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{Grace: 50 * time.Millisecond, Everyone: true})
		r := watch(t.Context(), here)
		users, ctx := []string{"ada", "bob", "cleo"}, t.Context()
		for _, user := range users {
			for range 2 {
				e.open(user, "")
			}
		}
		var all sync.WaitGroup
		for i, user := range users {
			all.Go(func() {
				for n := range 60 {
					to, group := e.hub.Clients().User(user), []string{"g", "h"}[n%2]
					assert.NoError(t, to.Join(ctx, group))
					if (n+i)%3 == 0 {
						time.Sleep(time.Duration(n) * 2 * time.Millisecond)
					}
					assert.NoError(t, to.Leave(ctx, group))
				}
				assert.NoError(t, e.hub.Clients().User(user).Join(ctx, "g"))
			})
		}
		for range 20 {
			w := watch(ctx, here, "g") // starts and stops meanwhile
			for range here.Watch(ctx, "h", "") {
				break
			}
			_ = w.take()
		}
		all.Wait()
		sleep(time.Second)
		require.Equal(t, users, here.Users("g"))
		require.Empty(t, here.Users("h"))
		present := map[string]bool{}
		for _, change := range r.take() {
			group, rest, _ := strings.Cut(change, " ")
			for _, word := range strings.Fields(rest) {
				at := group + "/" + word[1:]
				require.Equal(t, word[0] == '-', present[at], "%s: %s", change, at)
				present[at] = word[0] == '+'
			}
		}
		for _, group := range []string{"", "g", "h"} {
			for _, user := range users {
				require.Equal(t, slices.Contains(here.Users(group), user), present[group+"/"+user], "%s/%s", group, user)
			}
		}
	})
}

func TestAWatchEndsWithItsContextInsideTheLoop(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		here := track(e, presence.Options{})
		e.open("ada", "g h i")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for range here.Watch(ctx) {
			n++
			cancel()
		}
		require.Equal(t, 1, n)
	})
}
