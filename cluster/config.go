package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-sockaddr"
	"github.com/hashicorp/memberlist"

	"github.com/troupe-go/troupe/internal/logs"
)

// Config describes a node and how it finds the others. Zero values stand for the defaults.
type Config struct {
	// Bind is the IP address that the node listens at, with or without the first of three consecutive ports: that of gossip (TCP and UDP), that
	// of messages, and that of requests which are relayed (both TCP). "10.0.0.1", "10.0.0.1:7946", ":7946". Port 0 stands for three free ports.
	// Default: port 7946, and all addresses.
	Bind string
	// Advertise is the IP address at which the other nodes reach this one, and the first of the three ports if they are others there. Default:
	// that of Bind; if that is all addresses, the first private address of the machine.
	Advertise string
	// Seeds are nodes of the cluster: IP addresses or names, with or without the port of gossip, which is the one of Bind otherwise. One that can
	// be reached is enough; all nodes can have the same seeds, themselves included. All addresses of a name are tried, and it is looked up again
	// every few seconds. Nil: the node waits for others.
	Seeds []string

	// Cluster is the name of the cluster. Nodes of clusters with different names refuse each other. Default: "troupe".
	Cluster string
	// Name is what people call the node, in logs and lists. Default: the name of the host.
	Name string

	// Key is the secret that makes a process a node: at least 32 random bytes, the same on all nodes. Gossip is encrypted with it, and the nodes
	// identify each other with certificates that they derive from it. Who has it can do anything that a node can, and that is to send any message to
	// any actor of the actor system.
	Key []byte
	// AcceptedKeys are other keys that nodes may have. To change the key of a cluster while it runs, restart its nodes one by one three times: with
	// the new key in AcceptedKeys, then with the new one as Key and the old one here, then without the old one.
	AcceptedKeys [][]byte
	// TLS replaces the certificates that are derived from Key, which still encrypts gossip. It is for both ends of connections: it needs a
	// certificate for client and server authentication, RootCAs and ClientCAs. Nodes connect to IP addresses, so a certificate names those, or
	// ServerName. Nil: certificates are derived from Key.
	TLS *tls.Config
	// Insecure says that there is no Key: everybody who reaches the ports is a node. It is for tests.
	Insecure bool

	// MaxMessage is the number of bytes that a message between nodes may have. At least 1 MiB, at most 1 GiB. Default: 64 MiB.
	MaxMessage int
	// Logger gets what there is to say. Nil: slog.Default().
	Logger *slog.Logger

	// What tests put between a node and the network, and how often a member is asked whether it is there.
	probe  time.Duration
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	gossip func(memberlist.NodeAwareTransport) memberlist.NodeAwareTransport
}

const (
	firstPort         = 7946
	leastKey          = 32
	leastMessage      = 1 << 20
	mostMessage       = 1 << 30
	defaultMaxMessage = 64 << 20
	maxLabel          = 128
)

// Validate reports everything that is wrong with the configuration, and returns nil if nothing is.
func (c *Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	_, err := parseBind(c.Bind)
	check(err == nil, "Bind is %q: it is an IP address, with or without a port", c.Bind)
	advertised, err := parseBind(c.Advertise)
	check(c.Advertise == "" || err == nil && !advertised.Addr().IsUnspecified() && advertised.Port() != 0, "Advertise is %q: it is an IP address that other nodes reach, with or without a port", c.Advertise)
	for i, seed := range c.Seeds {
		_, _, err := splitSeed(seed, firstPort)
		check(err == nil, "Seeds[%d] is %q: it is an IP address or a name, with or without a port", i, seed)
	}
	check(len(c.Cluster) <= maxLabel && utf8.ValidString(c.Cluster), "Cluster is more than %d bytes long, or not valid UTF-8", maxLabel)
	check(len(c.Name) <= maxLabel && utf8.ValidString(c.Name), "Name is more than %d bytes long, or not valid UTF-8", maxLabel)
	if c.Insecure {
		check(c.Key == nil && c.AcceptedKeys == nil && c.TLS == nil, "Insecure is set, and so is Key, AcceptedKeys or TLS")
	} else {
		check(len(c.Key) >= leastKey, "Key has %d bytes: it has at least %d, and they are random", len(c.Key), leastKey)
	}
	for i, key := range c.AcceptedKeys {
		check(len(key) >= leastKey, "AcceptedKeys[%d] has %d bytes: it has at least %d, and they are random", i, len(key), leastKey)
	}
	if c.TLS != nil {
		check(len(c.TLS.Certificates) > 0 || c.TLS.GetCertificate != nil && c.TLS.GetClientCertificate != nil, "TLS has no certificate for both ends of connections")
		check(c.TLS.RootCAs != nil && c.TLS.ClientCAs != nil, "TLS lacks RootCAs or ClientCAs: everybody with a public certificate would be a node")
		check(!c.TLS.InsecureSkipVerify || c.TLS.VerifyConnection != nil, "TLS has InsecureSkipVerify")
	}
	check(c.MaxMessage == 0 || c.MaxMessage >= leastMessage && c.MaxMessage <= mostMessage, "MaxMessage is %d: it is at least 1 MiB and at most 1 GiB, or 0 for the default", c.MaxMessage)
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("cluster: Config: %w", errors.Join(faults...))
}

// withDefaults returns a valid configuration without zero values that stand for something.
func (c Config) withDefaults() Config {
	c.Cluster = cmp.Or(c.Cluster, "troupe")
	c.MaxMessage = cmp.Or(c.MaxMessage, defaultMaxMessage)
	if c.Name == "" {
		host, _ := os.Hostname()
		c.Name = strings.ToValidUTF8(host[:min(len(host), maxLabel)], "")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.probe = cmp.Or(c.probe, 200*time.Millisecond)
	if c.dial == nil {
		alive := net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3} // nothing else ends a relayed WebSocket
		c.dial = (&net.Dialer{Timeout: dialTime, KeepAliveConfig: alive}).DialContext
	}
	c.Logger = slog.New(logs.Safe(c.Logger.Handler()))
	return c
}

// parseBind parses an IP address with or without a port; none at all stands for all addresses.
func parseBind(text string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(cmp.Or(text, "0.0.0.0")); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), firstPort), nil
	}
	if text[0] == ':' {
		text = "0.0.0.0" + text
	}
	both, err := netip.ParseAddrPort(text)
	if err == nil && both.Port() > 65535-2 {
		err = errors.New("there are no three ports")
	}
	return netip.AddrPortFrom(both.Addr().Unmap(), both.Port()), err
}

// splitSeed splits an address or a name and a port, which may be missing.
func splitSeed(seed string, port uint16) (string, uint16, error) {
	if ip, err := netip.ParseAddr(seed); err == nil {
		return ip.String(), port, nil
	}
	host := seed
	if strings.Contains(seed, ":") {
		name, number, err := net.SplitHostPort(seed)
		if err != nil {
			return "", 0, err
		}
		given, err := strconv.ParseUint(number, 10, 16)
		if err != nil || given == 0 {
			return "", 0, errors.New("that is no port")
		}
		host, port = name, uint16(given)
	}
	if host == "" || strings.ContainsAny(host, " /[]") {
		return "", 0, errors.New("that is no name")
	}
	return host, port, nil
}

// advertised returns the addresses at which others reach the three ports of this node that it listens at.
func (c *Config) advertised(bound [3]uint16) (addresses [3]netip.AddrPort, err error) {
	bind, _ := parseBind(c.Bind)
	ip := bind.Addr()
	if c.Advertise != "" {
		there, _ := parseBind(c.Advertise)
		ip = there.Addr()
		if _, err := netip.ParseAddr(c.Advertise); err != nil { // with a port
			for i := range bound {
				bound[i] = there.Port() + uint16(i)
			}
		}
	} else if ip.IsUnspecified() {
		private, err := sockaddr.GetPrivateIP()
		if err == nil {
			ip, err = netip.ParseAddr(private)
		}
		if err != nil {
			return addresses, errors.New("cluster: this machine has no private address: set Config.Advertise")
		}
	}
	for i, port := range bound {
		addresses[i] = netip.AddrPortFrom(ip, port)
	}
	return addresses, nil
}
