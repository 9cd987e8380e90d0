// Package counter counts things that are alive, and waits until none is.
package counter

import (
	"context"
	"sync"
)

// Counter is a number that can be waited for. Unlike with a sync.WaitGroup, the wait can be given up, and the number can be read. The zero
// value is ready for use.
type Counter struct {
	mu      sync.Mutex
	n       int
	changed chan struct{} // made by whoever waits
}

// Add adds d, which may be negative.
func (c *Counter) Add(d int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// Get returns the number.
func (c *Counter) Get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// Wait returns when the number is zero or less, or with the error of ctx.
func (c *Counter) Wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.n <= 0 {
			c.mu.Unlock()
			return nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
