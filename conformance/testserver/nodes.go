package main

import (
	"flag"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/troupe-go/troupe/cluster"
	"github.com/troupe-go/troupe/hubsys/backplane"
)

var (
	nodeName  = flag.String("node", "", "what the node of a cluster is called")
	clusterAt = flag.String("cluster", "", "be a node of a cluster: the IP address and the first of six ports for other nodes. Its key is no secret")
	encrypted = flag.Bool("encrypted", false, "nodes encrypt what they send to each other, as with a key that is a secret")
	joinTo    = flag.String("join", "", "what other nodes have for -cluster, separated by commas")
)

// systemPorts is how many ports the Backplane of each System takes.
const systemPorts = 3

// newBackplane returns the Backplane for the System of a number, or nil if this is no node. The second result answers with what it knows.
func newBackplane(system int, log *slog.Logger) (backplane.Backplane, http.Handler, error) {
	if *clusterAt == "" {
		return nil, http.NotFoundHandler(), nil
	}
	config := cluster.Config{Name: *nodeName, Insecure: !*encrypted, Logger: log}
	if *encrypted {
		config.Key = []byte("a key for tests has 32 bytes ...")
	}
	var err error
	if config.Bind, err = shift(*clusterAt, system); err != nil {
		return nil, nil, err
	}
	if *joinTo != "" {
		for address := range strings.SplitSeq(*joinTo, ",") {
			seed, err := shift(address, system)
			if err != nil {
				return nil, nil, err
			}
			config.Seeds = append(config.Seeds, seed)
		}
	}
	nodes, err := cluster.New(config)
	return nodes, nodes, err
}

// shift returns the address of a System whose first one is at address.
func shift(address string, system int) (string, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	port, err := strconv.Atoi(text)
	return net.JoinHostPort(host, strconv.Itoa(port+systemPorts*system)), err
}
