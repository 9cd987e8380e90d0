package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// tick is a message of which receivers see how old it is.
type tick struct {
	T    int64  `json:"t"`
	User string `json:"user"`
	Text string `json:"text"`
}

var receiveTick = typed.Message1[tick]("Receive")

// startBroadcast sends rate messages a second to everyone on the bench hub for dur milliseconds, or as many as it can if rate is 0.
func startBroadcast(bench *hubsys.HubContext, w http.ResponseWriter, r *http.Request) {
	all := bench.Clients().All()
	atRate(w, r, "", false, func(int) hubsys.Receiver { return all })
}

// startAny does the same with a text that is longer by so many bytes, and to one of the groups g0, g1 and so on after the other, if there are some.
func startAny(bench *hubsys.HubContext, w http.ResponseWriter, r *http.Request) {
	order := numbers(w, r, parseInt, "bytes", "groups")
	if order == nil {
		return
	}
	to := []hubsys.Receiver{bench.Clients().All()}
	if n := order[1]; n > 0 {
		to = to[:0]
		for i := range n {
			to = append(to, bench.Clients().Group(fmt.Sprint("g", i)))
		}
	}
	atRate(w, r, strings.Repeat("x", int(max(0, order[0]))), true, func(i int) hubsys.Receiver { return to[i%len(to)] })
}

// atRate stamps messages with the time at which they are sent, or at which they are due, which shows how long a Send has waited. (The latter would say
// nothing of a rate that cannot be reached.)
func atRate(w http.ResponseWriter, r *http.Request, more string, stampsDue bool, to func(i int) hubsys.Receiver) {
	order := numbers(w, r, parseFloat, "rate", "dur")
	if order == nil {
		return
	}
	rate, milliseconds := order[0], order[1]
	text := "hello^ this is a broadcast message" + more
	start := time.Now()
	over := func() bool { return float64(time.Since(start))/float64(time.Millisecond) > milliseconds }
	for i := 0; !over(); i++ {
		var due time.Time
		if rate > 0 {
			due = start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			if early := time.Until(due); early > 0 {
				time.Sleep(early)
				if over() {
					break
				}
			}
		}
		stamp := due
		if !stampsDue || rate <= 0 {
			stamp = time.Now()
		}
		if err := receiveTick.Send(r.Context(), to(i), tick{stamp.UnixNano(), "alice", text}); err != nil {
			return
		}
	}
	fmt.Fprint(w, "ok")
}

// toEach sends messages with a "^" and so many bytes to the connections whose ids are in the body, to one after the other, for dur milliseconds.
func toEach(bench *hubsys.HubContext, w http.ResponseWriter, r *http.Request) {
	order := numbers(w, r, parseInt, "dur", "bytes")
	if order == nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	ids := strings.Fields(string(body))
	if err != nil || len(ids) == 0 || order[1] < 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	text := "^" + strings.Repeat("x", int(order[1]))
	end := time.Now().Add(time.Duration(order[0]) * time.Millisecond)
	n := int32(0)
	for ; n%16 > 0 || time.Now().Before(end); n++ {
		if err := receiveText.Send(r.Context(), bench.Clients().Client(ids[int(n)%len(ids)]), n, text); err != nil {
			return
		}
	}
	fmt.Fprint(w, n)
}
