package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// start runs a server, or the nodes of one, and waits until all of it answers.
func start(s *server) (stop func(), err error) {
	if s.nodes == 0 {
		return startOne(s)
	}
	var stops []func()
	stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
	// Each node has an address of its own, so its ports are free: 127.0.0.1 is where everything else is.
	at := func(node int) string { return fmt.Sprintf("127.77.%d.%d:7946", os.Getpid()%256, node+1) }
	all := make([]server, s.nodes)
	for i := range all {
		all[i] = *s
		all[i].command = append(slices.Clone(s.command), "-encrypted", "-node", fmt.Sprint(i), "-cluster", at(i), "-join", at(0))
		stopOne, err := startOne(&all[i])
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, stopOne)
	}
	for i := range all {
		for late := time.Now().Add(time.Minute); all[i].up() < s.nodes-1; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(late) {
				stop()
				return nil, errors.New("the nodes do not find each other")
			}
		}
	}
	all[0].others = all[1:]
	*s = all[0]
	return stop, nil
}

// up returns how many other nodes a node knows to be up.
func (s *server) up() int {
	var status struct{ MembersUp int }
	_ = json.Unmarshal([]byte(s.get("/cluster")), &status)
	return status.MembersUp
}

// startOne runs a server on ports of its own and waits until it answers.
func startOne(s *server) (stop func(), err error) {
	s.addr, s.control = freeAddr(), freeAddr()
	args := append(slices.Clone(s.command[1:]), "-addr", s.addr)
	if !isBaseline(s.name) {
		args = append(args, "-ctrl", s.control)
		if *profile != "" && !s.warm {
			args = append(args, "-pprof")
		}
	} else {
		s.control = s.addr
	}
	cmd := exec.Command(s.command[0], args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = cmd.Process.Pid
	for range 300 {
		if s.get("/gc") != "" || s.get("/pid") != "" {
			return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	return nil, errors.New("the server does not answer")
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer l.Close()
	return l.Addr().String()
}

// orders keeps its connections, of which workers use one each.
var orders = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}

// get asks the control port.
func (s *server) get(path string) string { return s.answer(orders.Get("http://" + s.control + path)) }

// post gives an order to the control port.
func (s *server) post(path, body string) {
	_ = s.answer(orders.Post("http://"+s.control+path, "text/plain", strings.NewReader(body)))
}

func (s *server) answer(r *http.Response, err error) string {
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		return ""
	}
	return string(body) + "\n" // even if it has answered with nothing
}

// all returns the nodes of a server, or the server.
func (s *server) all() []server { return append([]server{*s}, s.others...) }

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

func (s *server) collect() {
	for _, node := range s.all() {
		node.get("/gc")
	}
}

// profile writes profiles of what the processes of a server do in a window, if that is asked for.
func (s *server) profile() *sync.WaitGroup {
	var group sync.WaitGroup
	for i, node := range s.all() {
		if *profile == "" || isBaseline(s.name) || s.warm {
			break
		}
		group.Go(func() {
			file := fmt.Sprintf("%s/%s.%d.%d.pprof", *profile, strings.ReplaceAll(s.name, " ", "-"), time.Now().UnixMilli(), i)
			if err := os.WriteFile(file, []byte(strings.TrimSuffix(node.get(fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(window.Seconds())))), "\n")), 0o644); err != nil {
				fmt.Fprintln(os.Stderr, "hubbench:", err)
			}
		})
	}
	return &group
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
