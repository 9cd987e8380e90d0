package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// used is what the processes of a server have used, in seconds.
type used struct {
	user, sys float64
	first     float64 // of both, by the first node
}

func (s *server) cpu() (u used) {
	for i, node := range s.all() {
		user, sys := cpu(node.pid)
		if u.user, u.sys = u.user+user, u.sys+sys; i == 0 {
			u.first = user + sys
		}
	}
	return u
}

// memory is the resident set of the processes of a server, in bytes.
func (s *server) memory() (sum int) {
	for _, node := range s.all() {
		sum += memory(node.pid)
	}
	return sum
}

// state is what the processes of a server have, and have allocated since they began. The original and the baselines do not say.
type state struct {
	Goroutines, Actors, Groups, Connections int
	Objects, Bytes                          uint64
}

func (s *server) state() (sum state) {
	for _, node := range s.all() {
		var one state
		_ = json.Unmarshal([]byte(node.get("/bench/state")), &one)
		sum.Goroutines += one.Goroutines
		sum.Actors += one.Actors
		sum.Groups += one.Groups
		sum.Connections += one.Connections
		sum.Objects += one.Objects
		sum.Bytes += one.Bytes
	}
	return sum
}

// cpu is what a process has used, in seconds.
func cpu(pid int) (user, sys float64) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, 0
	}
	u, _ := strconv.ParseFloat(fields[11], 64)
	s, _ := strconv.ParseFloat(fields[12], 64)
	return u / 100, s / 100 // USER_HZ
}

// memory is the resident set of a process in bytes.
func memory(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb << 10
		}
	}
	return 0
}

// The kernel's names for whose usage is asked for.
const (
	ofProcess = 0
	ofThread  = 1
)

// usage is the CPU that this process, or the thread that asks, has used.
func usage(who int) time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
