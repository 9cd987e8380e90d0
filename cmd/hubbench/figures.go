package main

import (
	"slices"
	"time"
)

// figures are the outcome of one run. What is not known is 0.
type figures struct {
	PerSecond  float64 `json:"per_second"`      // deliveries, calls, items or connects
	Reached    float64 `json:"reached"`         // the part of what was offered
	CPU        float64 `json:"cpu_us"`          // of the server, per delivery, call, item or connect; if connections do nothing, per second of each
	User       float64 `json:"user_us"`         // a part of it
	Sys        float64 `json:"sys_us"`          // a part of it
	Sender     float64 `json:"sender_us"`       // a part of it: of the node that sends
	P50        float64 `json:"p50_ms"`          // from Send, or when that was due, to the client, or from a call to its answer
	P99        float64 `json:"p99_ms"`          //
	P999       float64 `json:"p999_ms"`         //
	Memory     float64 `json:"rss_bytes"`       // that connections have added, per connection
	Goroutines float64 `json:"goroutines"`      // per connection
	Objects    float64 `json:"objects"`         // allocated, per delivery and so on
	Bytes      float64 `json:"allocated_bytes"` // allocated, per delivery and so on
	Generator  float64 `json:"generator"`       // the part of a core that the load generator has used
	Growth     float64 `json:"growth"`          // of the resident set, last quarter by second quarter
	Left       float64 `json:"left"`            // goroutines, actors, groups and connections that are still there after all clients have gone
}

// metric is one of the figures.
type metric struct {
	name  string
	of    func(*figures) float64
	more  bool // more is better
	alone bool // what others have reached says nothing about it
	zero  bool // 0 is a value
}

var (
	perSecond      = &metric{name: "per s", of: func(f *figures) float64 { return f.PerSecond }, more: true}
	reached        = &metric{name: "reached", of: func(f *figures) float64 { return f.Reached }, more: true, alone: true}
	cpuEach        = &metric{name: "CPU µs", of: func(f *figures) float64 { return f.CPU }}
	p99            = &metric{name: "p99 ms", of: func(f *figures) float64 { return f.P99 }}
	memoryEach     = &metric{name: "RSS B", of: func(f *figures) float64 { return f.Memory }}
	goroutinesEach = &metric{name: "goroutines", of: func(f *figures) float64 { return f.Goroutines }, alone: true}
	generatorShare = &metric{name: "generator", of: func(f *figures) float64 { return f.Generator }}
	growth         = &metric{name: "growth", of: func(f *figures) float64 { return f.Growth }, alone: true}
	left           = &metric{name: "left", of: func(f *figures) float64 { return f.Left }, alone: true, zero: true}
)

// columns are all figures, in the order of tables.
var columns = []*metric{
	perSecond, reached, cpuEach,
	{name: "user", of: func(f *figures) float64 { return f.User }},
	{name: "sys", of: func(f *figures) float64 { return f.Sys }},
	{name: "sender", of: func(f *figures) float64 { return f.Sender }},
	{name: "p50 ms", of: func(f *figures) float64 { return f.P50 }},
	p99,
	{name: "p99.9 ms", of: func(f *figures) float64 { return f.P999 }},
	memoryEach, goroutinesEach,
	{name: "allocations", of: func(f *figures) float64 { return f.Objects }},
	{name: "allocated B", of: func(f *figures) float64 { return f.Bytes }},
	growth, left, generatorShare,
}

// results are what a run has measured, as they are kept in a file.
type results struct {
	Machine   string        `json:"machine"`
	Date      string        `json:"date"`
	Commit    string        `json:"commit"`
	Rounds    int           `json:"rounds"`
	Window    time.Duration `json:"window_ns"`
	Scenarios []*measured   `json:"scenarios"`
}

// measured is a scenario with its outcome.
type measured struct {
	Name    string   `json:"name"`
	Servers []*runs  `json:"servers"`
	LeftOut []string `json:"left_out,omitempty"` // servers, and why
}

// runs are those of one server.
type runs struct {
	Server string    `json:"server"`
	Rounds []figures `json:"rounds"`
}

func (r *results) find(scenario string) *measured {
	for _, m := range r.Scenarios {
		if m.Name == scenario {
			return m
		}
	}
	return &measured{}
}

func (m *measured) add(server string, f figures) {
	r := m.of(server)
	if r == nil {
		r = &runs{Server: server}
		m.Servers = append(m.Servers, r)
	}
	r.Rounds = append(r.Rounds, f)
}

// of returns the runs of a server, or nil.
func (m *measured) of(server string) *runs {
	for _, r := range m.Servers {
		if r.Server == server {
			return r
		}
	}
	return nil
}

// median returns the median of a figure of a server; 0: there is none.
func (m *measured) median(server string, of *metric) float64 {
	if r := m.of(server); r != nil {
		return r.median(of)
	}
	return 0
}

func (r *runs) median(of *metric) float64 {
	var values []float64
	for i := range r.Rounds {
		values = append(values, of.of(&r.Rounds[i]))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// scenario returns the definition of what has been measured, or nil if there is none any more.
func (m *measured) scenario() *scenario {
	for i := range scenarios {
		if scenarios[i].name == m.Name {
			return &scenarios[i]
		}
	}
	return nil
}
