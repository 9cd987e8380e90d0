// Package chaos has a test that disturbs the clients of a server in every way that a network, a client or a hub method can, by a schedule that is
// drawn from a seed, and checks what has arrived against a model while it runs and afterwards.
//
//	TROUPE_CHAOS=3m TROUPE_CHAOS_CLIENTS=2000 TROUPE_CHAOS_SEED=7 go test -run TestChaos -v ./conformance/chaos
package chaos

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/hubsys"
)

const (
	filesPerClient = 9               // four sockets for each TCP connection, of which most clients have one, and some two
	endTimeout     = 2 * time.Minute // for everything to have ended
	heapBase       = 2 << 20         // by which the heap may have grown at the end
	heapPerClient  = 6 << 10         // and for each client: the runtime keeps the descriptors of goroutines that have ended
)

func TestChaos(t *testing.T) {
	duration, clients, seed := 20*time.Second, 200, uint64(time.Now().UnixNano())
	if testing.Short() {
		duration = 3 * time.Second
	}
	var err error
	if text := os.Getenv("TROUPE_CHAOS"); text != "" {
		duration, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	if text := os.Getenv("TROUPE_CHAOS_CLIENTS"); text != "" {
		clients, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	if text := os.Getenv("TROUPE_CHAOS_SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	if err := allowFiles(clients * filesPerClient); err != nil {
		t.Skipf("%d file descriptors are not allowed: %v", clients*filesPerClient, err)
	}
	t.Logf("TROUPE_CHAOS=%s TROUPE_CHAOS_CLIENTS=%d TROUPE_CHAOS_SEED=%d", duration, clients, seed)

	warmUp(t)
	goroutines, files, heap := goleak.IgnoreCurrent(), openFiles(), heapInUse()
	began := time.Now()
	plan := newPlan(seed, clients, duration)
	r := &report{}
	server := play(t, plan, r)
	t.Log(r.table(plan, time.Since(began)))
	for _, text := range r.violations {
		t.Error(text)
	}

	eventually(t, "goroutines are left", func() error {
		return goleak.Find(goroutines)
	})
	eventually(t, "file descriptors are left", func() error {
		return differs(openFiles(), files)
	})
	eventually(t, "the server is still in memory", func() error {
		runtime.GC()
		if server.Value() != nil {
			return errors.New("something refers to it")
		}
		return nil
	})
	eventually(t, "the heap has grown", func() error {
		if now, most := heapInUse(), heap+heapBase+uint64(clients)*heapPerClient; now > most {
			return errors.New(strconv.FormatUint(now, 10) + " bytes, more than " + strconv.FormatUint(most, 10))
		}
		return nil
	})
	t.Logf("at the end: goroutines as before; %d file descriptors, before %d; %d KB of heap, before %d KB", openFiles(), files, heapInUse()>>10, heap>>10)
}

// warmUp has the process make what it makes once.
func warmUp(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener.Close()
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func differs(got, want int) error {
	if got != want {
		return errors.New(strconv.Itoa(got) + " in place of " + strconv.Itoa(want))
	}
	return nil
}

// eventually waits until a condition holds, which returns what is wrong as long as it does not.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	err := condition()
	for late := time.Now().Add(endTimeout); err != nil && time.Now().Before(late); err = condition() {
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// smallListener gives connections small buffers for what is sent.
type smallListener struct{ net.Listener }

func (l smallListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(socketRoom)
	}
	return conn, err
}

// play plays a plan from the start of a server to its end, and returns its actor system, to which all connections refer.
func play(t *testing.T, plan *plan, r *report) weak.Pointer[actor.ActorSystem] {
	t.Helper()
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler), PendingConnectionsPerAddress: hubsys.Unlimited})
	require.NoError(t, err)
	w := &world{plan: plan, report: r, records: map[string]*record{}}
	w.hub, err = hubsys.Register(sys, func(context.Context) (*chaosHub, error) { return &chaosHub{w: w}, nil }, hubsys.HubOptions{
		OutboxLimit: 128 << 10, StatefulReconnectBufferSize: 512 << 10, KeepAliveInterval: 2 * time.Second,
	})
	require.NoError(t, err)
	require.NoError(t, w.hub.Map("/hub", hubsys.EndpointOptions{
		Authenticate: authenticate, AllowStatefulReconnects: true, PollTimeout: 5 * time.Second, CloseTimeout: 20 * time.Second,
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: sys, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(smallListener{listener}) })
	w.proxy, err = newProxy(listener.Addr().String(), len(plan.steps))
	require.NoError(t, err)

	w.run()
	eventually(t, "something is left when all clients have gone", func() error { return w.left(sys) })
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	require.NoError(t, sys.Shutdown(ctx))
	w.proxy.close()
	require.NoError(t, server.Close())
	serving.Wait()
	w.judge()
	return weak.Make(sys.ActorSystem())
}

// run has all clients and announcers do what the plan says.
func (w *world) run() {
	for i := range w.senders {
		w.senders[i] = newAnnouncer(i, w.plan.groups)
	}
	w.began = time.Now()
	clients := make([]*client, len(w.plan.steps))
	var running sync.WaitGroup
	for i := range clients {
		clients[i] = newClient(w, i)
		running.Go(clients[i].run)
	}
	for _, a := range w.senders {
		running.Go(func() { a.run(w) })
	}
	running.Wait()
	for _, c := range clients {
		running.Go(c.finish)
	}
	running.Wait()
}

// left says what the server still has when all clients have gone.
func (w *world) left(sys *hubsys.System) error {
	n, err := w.hub.Clients().All().Count(context.Background())
	if err = errors.Join(err, differs(n, 0)); err != nil {
		return errors.Join(errors.New("members of everyone"), err)
	}
	for _, m := range sys.Metrics() {
		switch m.Name {
		case "signalr.server.active_connections", "troupe.groups", "troupe.outbox.pending", "troupe.calls.running", "troupe.actors.panics":
			for _, one := range m.Samples {
				if one.Value != 0 {
					return errors.New(m.Name + " is " + strconv.FormatFloat(one.Value, 'f', 0, 64))
				}
			}
		}
	}
	return nil
}
