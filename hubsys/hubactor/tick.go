package hubactor

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Tick sends a message to the actor in each period of d, until the actor stops or stop is called. It is called by Receive, for example at
// *actor.Started. Ticks wait in the mailbox of an actor that takes longer for one than d.
func Tick(c actor.Context, d time.Duration, message any) (stop func()) {
	t := &ticker{quit: make(chan struct{})}
	system, self := c.ActorSystem(), c.Self()
	pid, _ := system.ProcessRegistry.Add(t, "hubactor-tick-"+number())
	process, _ := system.ProcessRegistry.Get(self)
	process.SendSystemMessage(self, &actor.Watch{Watcher: pid})
	go func() {
		clock := time.NewTicker(d)
		defer clock.Stop()
		defer system.ProcessRegistry.Remove(pid)
		for {
			select {
			case <-clock.C:
				system.Root.Send(self, message)
			case <-t.quit:
				process.SendSystemMessage(self, &actor.Unwatch{Watcher: pid})
				return
			}
		}
	}()
	return t.stop
}

type ticker struct {
	once sync.Once
	quit chan struct{}
}

var _ actor.Process = (*ticker)(nil)

func (t *ticker) stop() { t.once.Do(func() { close(t.quit) }) }

// SendUserMessage is part of actor.Process.
func (t *ticker) SendUserMessage(*actor.PID, any) {}

// SendSystemMessage is part of actor.Process.
func (t *ticker) SendSystemMessage(_ *actor.PID, message any) {
	if _, ok := message.(*actor.Terminated); ok {
		t.stop()
	}
}

// Stop is part of actor.Process.
func (t *ticker) Stop(*actor.PID) { t.stop() }
