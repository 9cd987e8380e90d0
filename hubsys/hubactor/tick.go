package hubactor

import (
	"strconv"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Tick sends a message to the actor in each period of d, until the actor stops or stop is called. It is called by Receive, for example at
// *actor.Started. Ticks wait in the mailbox of an actor that takes longer for one than d. An actor that is spawned by this package and restarted
// gets no ticks of its former self. Tick panics if d is not positive.
func Tick(c actor.Context, d time.Duration, message any) (stop func()) {
	if d <= 0 {
		panic("hubactor: Tick: the period is not positive")
	}
	t := &ticker{quit: make(chan struct{})}
	system, self := c.ActorSystem(), c.Self()
	pid, added := t.register(system, self)
	for !added {
		pid, added = t.register(system, self)
	}
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

// maxTicks is how many tickers of an actor are found when it restarts.
const maxTicks = 64

func tickID(self *actor.PID, n int) string { return self.Id + "/tick/" + strconv.Itoa(n) }

// register registers the ticker under the first name that is free.
func (t *ticker) register(system *actor.ActorSystem, self *actor.PID) (*actor.PID, bool) {
	for n := range maxTicks {
		if pid, added := system.ProcessRegistry.Add(t, tickID(self, n)); added {
			return pid, true
		}
	}
	return system.ProcessRegistry.Add(t, "hubactor-tick-"+number())
}

// stopTicks stops the tickers of an actor.
func stopTicks(system *actor.ActorSystem, self *actor.PID) {
	for n := range maxTicks {
		process, ok := system.ProcessRegistry.GetLocal(tickID(self, n))
		if t, isTicker := process.(*ticker); ok && isTicker {
			t.stop()
		}
	}
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
