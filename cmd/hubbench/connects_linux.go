package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"
)

// connectForAWhile opens connections and closes them again. If they are negotiated, it is with one node, and they are opened at the next one.
func (g *generator) connectForAWhile(warm time.Duration) (f figures, err error) {
	nodes := g.server.all()
	var mu sync.Mutex
	begin := time.Now().Add(warm)
	var w *opened
	var began time.Duration
	err = inParallel(func(i int) (bool, error) {
		start := time.Now()
		token := ""
		if g.load.negotiated {
			var err error
			if token, err = nodes[i%len(nodes)].negotiate(); err != nil {
				return false, err
			}
		}
		fd, _, err := g.dial(&nodes[(i+1)%len(nodes)], token, false)
		if err != nil {
			return false, err
		}
		// Without a linger, there would be no free port for so many.
		err = errors.Join(syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}), syscall.Close(fd))
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		if now.After(begin) {
			if w == nil {
				w, began = g.begin(), usage(ofProcess)
			}
			g.count.Add(1)
			g.latencies = append(g.latencies, float64(now.Sub(start))/1e6)
		}
		return now.Before(begin.Add(g.window)), err
	})
	if err != nil {
		return f, err
	}
	used := usage(ofProcess) - began
	f = w.end()
	f.Generator = float64(used) / float64(time.Since(w.at))
	g.latenciesOf(&f)
	return f, nil
}

// comeAndGo has connections come, join a group, call, leave it and go, at a rate, for a time, and measures what remains of them.
func (g *generator) comeAndGo(long time.Duration) (f figures, err error) {
	before := g.server.state()
	if before == (state{}) {
		return f, &lacking{"it has no order /bench/state"}
	}
	start, began := time.Now(), usage(ofProcess)
	w := g.begin()
	var sizes []int
	over := make(chan struct{})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for ticks := time.NewTicker(long / 400); ; {
			select {
			case <-over:
				return
			case <-ticks.C:
				sizes = append(sizes, g.server.memory())
			}
		}
	}()
	var mu sync.Mutex
	err = inParallel(func(i int) (bool, error) {
		due := start.Add(time.Duration(float64(i) / g.load.rate * float64(time.Second)))
		if due.After(start.Add(long)) {
			return false, nil
		}
		time.Sleep(time.Until(due))
		began := time.Now()
		if err := g.visit(fmt.Sprint("visitors", i%1000)); err != nil {
			return false, err
		}
		mu.Lock()
		defer mu.Unlock()
		g.count.Add(1)
		g.latencies = append(g.latencies, float64(time.Since(began))/1e6)
		return true, nil
	})
	used, elapsed := usage(ofProcess)-began, time.Since(start)
	close(over)
	<-sampled
	if err != nil {
		return f, err
	}
	f = w.end()
	f.Generator = float64(used) / float64(elapsed)
	g.latenciesOf(&f)
	middle := func(part []int) float64 {
		slices.Sort(part)
		return float64(part[len(part)/2])
	}
	if n := len(sizes) / 4; n > 0 {
		f.Growth = middle(sizes[3*n:]) / middle(sizes[n:2*n])
	}
	f.Left = g.left(before)
	return f, nil
}

// visit is one connection.
func (g *generator) visit(group string) error {
	fd, _, err := g.dial(g.server, "", false)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for _, call := range [][]any{{"Join", group}, {"Echo", "hello^"}, {"Leave", group}} {
		if _, err := invoke(fd, call[0].(string), call[1:]...); err != nil {
			return err
		}
	}
	const closing = 8
	if _, err := syscall.Write(fd, maskedFrame(closing, []byte{0x03, 0xe8})); err != nil {
		return err
	}
	if answer, err := readUntil(fd, "\x03\xe8"); err != nil {
		return fmt.Errorf("close: %w: %q", err, answer)
	}
	return nil
}

// left returns how many more goroutines, actors, groups and connections there are than before, when the server has had the time to end them.
func (g *generator) left(before state) (n float64) {
	more := func(now, before int) float64 { return float64(max(0, now-before)) }
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(100 * time.Millisecond) {
		s := g.server.state()
		n = more(s.Goroutines, before.Goroutines) + more(s.Actors, before.Actors) + more(s.Groups, before.Groups) + more(s.Connections, before.Connections)
		if n == 0 {
			break
		}
	}
	return n
}
