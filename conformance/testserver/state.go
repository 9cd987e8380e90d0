package main

import (
	"encoding/json"
	"net/http"
	"runtime"
	"runtime/metrics"

	"github.com/troupe-go/troupe/hubsys"
)

// state is what a process has, and what it has allocated since it began.
type state struct {
	Goroutines, Actors, Groups, Connections int
	Objects, Bytes                          uint64 // allocated on the heap
}

func writeState(sys *hubsys.System, w http.ResponseWriter) {
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(heap)
	s := state{Goroutines: runtime.NumGoroutine(), Objects: heap[0].Value.Uint64(), Bytes: heap[1].Value.Uint64()}
	for _, processes := range sys.ActorSystem().ProcessRegistry.LocalPIDs.LocalPIDs {
		s.Actors += processes.Count()
	}
	for _, m := range sys.Metrics() {
		for _, sample := range m.Samples {
			switch m.Name {
			case "troupe.groups":
				s.Groups += int(sample.Value)
			case "signalr.server.active_connections":
				s.Connections += int(sample.Value)
			}
		}
	}
	_ = json.NewEncoder(w).Encode(s)
}
