package actors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Shutdown closes every connection with allowReconnect, lets OnDisconnected run and the outboxes drain, and stops all actors and
// goroutines. When ctx ends first, sockets are cut and calls that still run are abandoned; the error then says how many, and wraps
// the cause of ctx. Later callers wait for the first, as long as their own ctx allows. A call may shut down the system that it runs in:
// nobody waits for it, and its context goes on.
func (s *System) Shutdown(ctx context.Context) error {
	if k := CallOf(ctx); k != nil && k.conn.hub.sys == s {
		defer s.excludeCaller(k)()
	}
	first := false
	s.shutdown.Do(func() {
		first = true
		go func() {
			s.result = s.stop(ctx)
			close(s.finished)
		}()
	})
	if first { // stop looks at ctx itself
		<-s.finished
		return s.result
	}
	select {
	case <-s.finished:
		return s.result
	case <-ctx.Done():
		return fmt.Errorf("hubsys: another Shutdown is still under way: %w", context.Cause(ctx))
	}
}

// excludeCaller has the end of the system not wait for a call that waits for that end, until include is called or the call returns.
func (s *System) excludeCaller(k *Call) (include func()) {
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return func() {}
	}
	k.shutdownsInFlight++
	first := k.shutdownsInFlight == 1
	if first {
		k.countAlive(-1)
	}
	k.mu.Unlock()
	if first {
		k.conn.calls.exclude(k, true)
		k.conn.start()
	}
	return func() {
		k.mu.Lock()
		k.shutdownsInFlight--
		last := k.shutdownsInFlight == 0 && !k.ended
		if last {
			k.countAlive(1)
		}
		k.mu.Unlock()
		if last {
			k.conn.calls.exclude(k, false)
		}
	}
}

// countAlive counts a call, and the connection whose end waits for it, among what the end of the system waits for, or not.
func (k *Call) countAlive(d int) {
	k.conn.hub.sys.workers.busy.Add(d)
	if k.isLifetime() {
		k.conn.hub.sys.alive.Add(d)
	}
}

// stopCallsBefore stops what still runs when nine tenths of the time until the end of ctx are over, so that calls whose contexts end can
// return in time.
func (s *System) stopCallsBefore(ctx context.Context) (cancel func()) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return func() {}
	}
	timer := time.AfterFunc(time.Until(deadline)/10*9, s.stopCalls)
	return func() { timer.Stop() }
}

// stopCalls ends the contexts of all calls.
func (s *System) stopCalls() {
	for _, c := range s.allConnections() {
		c.post(&stopCalls{ErrShutdown})
	}
}

func (s *System) stop(ctx context.Context) error {
	s.refuseConnections()
	for _, c := range s.allConnections() {
		c.askToClose(nil, closeReason{message: true, allowReconnect: true})
	}
	cancel := s.stopCallsBefore(ctx)
	connections := s.alive.Wait(ctx)
	cancel()
	if connections != nil {
		s.stopCalls()
	}
	cut := s.alive.Get()
	s.stopped.Store(true)
	for _, c := range s.allConnections() {
		c.out.Cut()
	}
	s.workers.stop()
	calls := s.workers.busy.Wait(ctx)
	abandoned := s.workers.busy.Get()
	for _, f := range s.beforeStop {
		f(ctx)
	}
	var left error
	if s.nodes != nil {
		left = s.nodes.leave(ctx)
	}
	hasStopped := s.stopTree(ctx)
	s.addresses.remove(s.actorSystem)
	close(s.quit)
	s.services.Wait()
	s.shutdownActors()
	if connections != nil || calls != nil {
		return fmt.Errorf("hubsys: shutdown was cut short: %d connections cut off, %d calls abandoned: %w", cut, abandoned, context.Cause(ctx))
	}
	if !hasStopped { // an actor of the application's does not
		return fmt.Errorf("hubsys: shutdown was cut short: actors below %s have not stopped: %w", s.root.Id, context.Cause(ctx))
	}
	if left != nil {
		return fmt.Errorf("hubsys: the cluster was not left in order: %w", left)
	}
	if s.drainers.Wait(ctx) != nil { // a net.Conn of the application's whose Close does not end its Write
		return fmt.Errorf("hubsys: shutdown was cut short: %d sockets are still being written: %w", s.drainers.Get(), context.Cause(ctx))
	}
	return nil
}

// stopGrace is how long the actors have at least to stop.
const stopGrace = 100 * time.Millisecond

// stopTree stops the root and what is under it, and waits for that as long as ctx allows. It returns false if that was not long enough.
func (s *System) stopTree(ctx context.Context) bool {
	gone := &watcher{gone: make(chan struct{})}
	pid, _ := s.actorSystem.ProcessRegistry.Add(gone, s.root.Id+"/shutdown")
	defer s.actorSystem.ProcessRegistry.Remove(pid)
	process, ok := s.actorSystem.ProcessRegistry.Get(s.root)
	if !ok {
		return true // somebody has stopped it already
	}
	process.SendSystemMessage(s.root, &actor.Watch{Watcher: pid})
	s.actorSystem.Root.Stop(s.root)
	select {
	case <-gone.gone:
		return true
	case <-ctx.Done():
	}
	select {
	case <-gone.gone:
		return true
	case <-time.After(stopGrace):
		return false
	}
}

// watcher waits for a Terminated.
type watcher struct {
	once sync.Once
	gone chan struct{}
}

func (w *watcher) SendUserMessage(*actor.PID, any) {}
func (w *watcher) Stop(*actor.PID)                 {}
func (w *watcher) SendSystemMessage(_ *actor.PID, message any) {
	if _, ok := message.(*actor.Terminated); ok {
		w.once.Do(func() { close(w.gone) })
	}
}
