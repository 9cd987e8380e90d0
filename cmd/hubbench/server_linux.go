package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// start runs a server, or the nodes of one, and waits until all of it answers.
func (s *server) start() error {
	if s.nodes == 0 {
		return s.startOne()
	}
	// Each node has an address of its own, so its ports are free: 127.0.0.1 is where everything else is.
	at := func(node int) string { return fmt.Sprintf("127.77.%d.%d:7946", os.Getpid()%256, node+1) }
	all := make([]server, s.nodes)
	stop := func() {
		for i := range all {
			if all[i].stop != nil {
				all[i].stop()
			}
		}
	}
	for i := range all {
		all[i] = *s
		all[i].command = append(slices.Clone(s.command), "-encrypted", "-node", fmt.Sprint(i), "-cluster", at(i), "-join", at(0))
		if err := all[i].startOne(); err != nil {
			stop()
			return err
		}
	}
	for i := range all {
		for late := time.Now().Add(time.Minute); all[i].up() < s.nodes-1; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(late) {
				stop()
				return errors.New("the nodes do not find each other")
			}
		}
	}
	*s = all[0]
	s.others, s.stop = all[1:], stop
	s.settle()
	return nil
}

// up returns how many other nodes a node knows to be up.
func (s *server) up() int {
	var status struct{ MembersUp int }
	_ = json.Unmarshal([]byte(s.get("/cluster")), &status)
	return status.MembersUp
}

// startOne runs a server on ports of its own and waits until it answers. Somebody else may take a port meanwhile: then it tries others.
func (s *server) startOne() (err error) {
	for range 3 {
		if err = s.tryStart(); err == nil {
			return nil
		}
	}
	return err
}

func (s *server) tryStart() error {
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
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.pid = cmd.Process.Pid
	s.stop = func() { _ = cmd.Process.Kill(); <-ended }
	for late := time.After(30 * time.Second); ; {
		if s.get("/gc") != "" || s.get("/pid") != "" {
			s.settle()
			return nil
		}
		select {
		case <-ended:
			return errors.New("the server has ended")
		case <-late:
			s.stop()
			return errors.New("the server does not answer")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// settle collects garbage, and notes what a server takes without connections.
func (s *server) settle() {
	s.collect()
	s.base = base{s.memory(), s.state().Goroutines}
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer l.Close()
	return l.Addr().String()
}

// orders keeps its connections, of which workers use one each. longOrders are those that are answered when they have been carried out.
var (
	orders     = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, Timeout: patience}
	longOrders = http.Client{Transport: orders.Transport}
)

// get asks the control port.
func (s *server) get(path string) string { return s.answer(orders.Get("http://" + s.control + path)) }

// getLong gives an order to the control port, and postLong one with a body.
func (s *server) getLong(path string) string {
	return s.answer(longOrders.Get("http://" + s.control + path))
}

func (s *server) postLong(path, body string) string {
	return s.answer(longOrders.Post("http://"+s.control+path, "text/plain", strings.NewReader(body)))
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
			if err := os.WriteFile(file, []byte(strings.TrimSuffix(node.getLong(fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(window.Seconds())))), "\n")), 0o644); err != nil {
				fmt.Fprintln(os.Stderr, "hubbench:", err)
			}
		})
	}
	return &group
}
