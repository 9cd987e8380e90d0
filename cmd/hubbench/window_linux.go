package main

import (
	"slices"
	"syscall"
	"time"
)

// opened is the beginning of a window.
type opened struct {
	g      *generator
	state  state
	count  int64
	before used
	at     time.Time
}

func (g *generator) begin() *opened {
	w := &opened{g: g, state: g.server.state()}
	w.at, w.count, w.before = time.Now(), g.count.Load(), g.server.cpu()
	return w
}

// end returns the figures of a window, but for those that the generator has.
func (w *opened) end() (f figures) {
	elapsed, count, after := time.Since(w.at), float64(w.g.count.Load()-w.count), w.g.server.cpu()
	state := w.g.server.state()
	f.PerSecond = count / elapsed.Seconds()
	if offered := w.g.load.offered(); offered > 0 {
		f.Reached = f.PerSecond / offered
	}
	f.User, f.Sys = (after.user-w.before.user)/count*1e6, (after.sys-w.before.sys)/count*1e6
	f.CPU = f.User + f.Sys
	if len(w.g.server.others) > 0 {
		f.Sender = (after.first - w.before.first) / count * 1e6
	}
	f.Objects, f.Bytes = float64(state.Objects-w.state.Objects)/count, float64(state.Bytes-w.state.Bytes)/count
	w.g.taken(&f, state)
	if w.g.server.warm { // it keeps what former rounds have left
		f.Memory = 0
	}
	return f
}

// taken sets what each connection takes.
func (g *generator) taken(f *figures, now state) {
	if n, base := float64(len(g.fds)), g.server.base; n > 0 {
		f.Memory, f.Goroutines = float64(g.server.memory()-base.memory)/n, float64(max(0, now.Goroutines-base.goroutines))/n
	}
}

func (g *generator) latenciesOf(f *figures) {
	if n := len(g.latencies); n > 0 {
		slices.Sort(g.latencies)
		f.P50, f.P99, f.P999 = g.latencies[n/2], g.latencies[n*99/100], g.latencies[n*999/1000]
	}
}

// idle measures connections that do nothing.
func (g *generator) idle() (f figures, err error) {
	time.Sleep(time.Second)
	g.server.collect()
	time.Sleep(500 * time.Millisecond)
	n := float64(g.load.connections)
	g.taken(&f, g.server.state())
	begin := g.server.cpu()
	time.Sleep(g.window)
	end := g.server.cpu()
	f.User, f.Sys = (end.user-begin.user)/g.window.Seconds()/n*1e6, (end.sys-begin.sys)/g.window.Seconds()/n*1e6
	f.CPU = f.User + f.Sys
	g.lost = g.closed()
	return f, g.failure()
}

// closed returns how many connections the server has closed, where nobody reads.
func (g *generator) closed() (n int) {
	events := make([]syscall.EpollEvent, len(g.byFD))
	ready, _ := syscall.EpollWait(g.epoll, events, 0)
	for _, e := range events[:max(0, ready)] {
		if e.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
			n++
		}
	}
	return n
}
