// Package metric has counters and histograms that cost a hot path a few nanoseconds: each is split into shards, so that processors do not wait for
// each other.
package metric

import (
	"math/bits"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
)

// shards is a power of two: some for each processor, so that those that several processors get are seldom the same.
var shards = 4 << bits.Len(uint(min(runtime.NumCPU(), 8)-1))

// Shard is where a processor counts. What is counted by one processor should be counted in the same shard.
type Shard uint32

var lastShard atomic.Uint32

// NewShard returns a shard; the next call returns another one, until they have all been returned.
func NewShard() Shard { return Shard(lastShard.Add(1)) }

func shard() Shard { return Shard(rand.Uint32()) }

func (s Shard) index() int { return int(s) & (shards - 1) }

// cell is a counter on a cache line of its own.
type cell struct {
	n atomic.Int64
	_ [56]byte
}

// Counter counts events. It is made by NewCounter.
type Counter struct{ cells []cell }

// NewCounter makes a counter.
func NewCounter() *Counter { return &Counter{make([]cell, shards)} }

// Add adds n.
func (c *Counter) Add(n int64) { c.cells[shard().index()].n.Add(n) }

// Value returns the sum.
func (c *Counter) Value() int64 {
	var sum int64
	for i := range c.cells {
		sum += c.cells[i].n.Load()
	}
	return sum
}

// Buckets are the upper bounds of a histogram of durations, in seconds: those that OpenTelemetry recommends, and those for long durations.
var (
	ShortBuckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	LongBuckets  = []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300}
)

// Histogram counts durations by their size. It is made by NewHistogram.
type Histogram struct {
	bounds []float64
	nanos  []int64 // the bounds
	shards []histogramShard
}

type histogramShard struct {
	counts []atomic.Int64 // by bucket; the last one has no bound
	sum    atomic.Int64   // in nanoseconds
	_      [32]byte
}

// NewHistogram makes a histogram with upper bounds in seconds.
func NewHistogram(bounds []float64) *Histogram {
	h := &Histogram{bounds: bounds, shards: make([]histogramShard, shards)}
	for _, bound := range bounds {
		h.nanos = append(h.nanos, int64(bound*float64(time.Second)))
	}
	for i := range h.shards {
		h.shards[i].counts = make([]atomic.Int64, len(bounds)+1)
	}
	return h
}

// Observe counts a duration.
func (h *Histogram) Observe(d time.Duration) { h.ObserveIn(shard(), d) }

// ObserveIn counts a duration in a shard.
func (h *Histogram) ObserveIn(shard Shard, d time.Duration) {
	i := 0
	for i < len(h.nanos) && int64(d) > h.nanos[i] {
		i++
	}
	s := &h.shards[shard.index()]
	s.counts[i].Add(1)
	s.sum.Add(int64(d))
}

// Read returns the upper bounds, how many durations were in each bucket, the last of which has no bound, and their sum in seconds.
func (h *Histogram) Read() (bounds []float64, counts []uint64, sum float64) {
	counts = make([]uint64, len(h.bounds)+1)
	var nanos int64
	for i := range h.shards {
		for j := range counts {
			counts[j] += uint64(h.shards[i].counts[j].Load())
		}
		nanos += h.shards[i].sum.Load()
	}
	return h.bounds, counts, float64(nanos) / float64(time.Second)
}
