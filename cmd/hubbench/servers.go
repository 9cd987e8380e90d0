package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// server is what is measured.
type server struct {
	name    string
	command []string // nil: it runs already
	env     []string // in addition to that of this process
	addr    string
	control string
	pid     int
	nodes   int      // 0: it is no cluster
	others  []server // the nodes but the first one, when they run
	warm    bool     // it compiles itself while it runs, and has neither MessagePack nor the protocol of SignalR 2: the original
	base    base     // without connections
	stop    func()   // when it has been started here
}

func nodesName() string { return fmt.Sprintf("%d nodes", *nodeCount) }

// base is what a server takes without connections.
type base struct{ memory, goroutines int }

// program is what the original server runs.
//
//go:embed original/Program.cs
var program []byte

// findServers builds Troupe's test server; the baselines are this program.
func findServers() ([]server, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "hubbench-")
	if err != nil {
		return nil, nil, err
	}
	cleanup := func() { _ = os.RemoveAll(dir) }
	binary := filepath.Join(dir, "testserver")
	build := exec.Command("go", "build", "-o", binary, "github.com/troupe-go/troupe/conformance/testserver")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		cleanup()
		return nil, nil, fmt.Errorf("the test server does not build: %w", err)
	}
	servers := []server{
		{name: rawLoop, command: []string{self, "-serve", "loop"}},
		{name: bareEcho, command: []string{self, "-serve", "echo"}},
		{name: oneNode, command: []string{binary}},
		{name: nodesName(), command: []string{binary}, nodes: *nodeCount},
	}
	if *reference != "" {
		if _, err := os.Stat(*reference); err == nil {
			source := filepath.Join(dir, "Program.cs")
			if err := os.WriteFile(source, program, 0o600); err != nil {
				cleanup()
				return nil, nil, err
			}
			servers = append(servers, server{name: original, command: []string{*reference}, env: []string{"SRC=" + source}, warm: true})
		} else {
			fmt.Printf("left out: the original server (%v)\n", err)
		}
	}
	return append(servers, peers...), cleanup, nil
}
