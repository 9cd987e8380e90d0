package hubsys

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
	"github.com/troupe-go/troupe/transport"
)

// Unlimited lifts a limit, where its option says that this can be done.
const Unlimited = -1

// HubOptions are the options of one hub. Zero values stand for the defaults, which are those of ASP.NET Core SignalR.
type HubOptions struct {
	// Name tells hubs of one System apart, in the addresses of actors and in logs. Default: the name of the hub's type.
	Name string
	// Methods are the methods of the hub about which there is something special. Clients call all others by their names in Go.
	Methods []Method

	// Protocols are the encodings that clients may choose from, eight at most. Default: hubproto.JSON and hubproto.MessagePack.
	Protocols []hubproto.Protocol

	// HandshakeTimeout is how long a new connection may take to say which protocol it speaks. Default: 15 s.
	HandshakeTimeout time.Duration
	// KeepAliveInterval is the time between two pings to a client. Default: 15 s; clients give up after twice as long without any message.
	KeepAliveInterval time.Duration
	// ClientTimeoutInterval is how long a client that has sent a ping may then be silent. Default: 30 s. Like all times here it is
	// looked at once a second.
	ClientTimeoutInterval time.Duration
	// MaximumReceiveMessageSize is the number of bytes that one message of a client may have, its framing included. Default: 32768.
	// It can be Unlimited.
	MaximumReceiveMessageSize int
	// MaximumParallelInvocationsPerClient is how many calls of one client run at once; others wait, in their order. Default: 1.
	MaximumParallelInvocationsPerClient int
	// StreamBufferCapacity is the number of items of one stream from a client that may wait for the method to take them. When there are
	// more, the client has to wait with whatever it sends. Default: 10. (Calls with streams, in either direction, are no parallel
	// invocations; 1,000 of one client can run at once.)
	StreamBufferCapacity int
	// EnableDetailedErrors lets clients see the text of every error, not of a [HubError] alone. Default: false.
	EnableDetailedErrors bool

	// OutboxLimit is the number of bytes that may wait for one client. When half of them do, senders wait. A Send to several waits until at
	// least half of its receivers are below that mark; a client that is slower than those holds senders for one second in all, and is
	// disconnected when it is at the limit then; in a loop of sends without a pause those are the slower half. One that keeps taking an eighth
	// of the limit a second is not before four times the limit waits for it: many may have sent to it at once. Only time in which the
	// client's own connection was full counts. A Send to one client, and
	// the results of its own calls, wait for it as long as it takes anything within TransportSendTimeout, and are not what makes it slow.
	// Senders that wait may each exceed the limit by one message. Default: 1 MiB.
	OutboxLimit int
	// InboundLimit is the number of bytes from one client that may wait to be handled. When they do, the client has to wait.
	// Default: 1 MiB.
	InboundLimit int

	// DisconnectGrace is how long the calls of a client that has gone go on. What was received before the client's end is executed, and
	// the contexts of methods and of OnConnected do not end with their client, because what they do is often meant for others: a message,
	// an entry in a database. [Call.Aborted] tells at once that the client has gone, and streams end at once. When this time is over,
	// contexts end. OnDisconnected runs behind what was received as one more call would: when all calls have begun, and, with one at a time,
	// ended, or up to CloseTimeout after this time. Default: 30 s. Unlimited: contexts do not end,
	// and a method that never returns keeps its connection for ever.
	DisconnectGrace time.Duration
	// MaximumPendingResults is how many calls of one client may wait for the client's answer to an [Invoke] without counting as parallel
	// invocations. Further ones count, so the client's next calls wait. Default: 100.
	MaximumPendingResults int
}

// Method says what is special about one method of a hub.
type Method struct {
	// Func is the method, as an expression such as (*Chat).Send.
	Func any
	// Name is what clients call the method. Default: its name in Go.
	Name string
	// Hidden says that clients cannot call the method. Default: false.
	Hidden bool
}

const (
	defaultBytes = 1 << 20
	leastBytes   = 64 << 10

	defaultKeepAlive     = 15 * time.Second
	defaultClientTimeout = 30 * time.Second
	defaultPollTimeout   = 90 * time.Second
	clientPollTimeout    = 100 * time.Second // after which the official clients give up
	defaultRequestLimit  = 16 << 10
)

// Validate reports everything that is wrong with the options.
func (o HubOptions) Validate() error {
	var f faults
	f.duration("HandshakeTimeout", o.HandshakeTimeout)
	f.duration("KeepAliveInterval", o.KeepAliveInterval)
	f.duration("ClientTimeoutInterval", o.ClientTimeoutInterval)
	for i, p := range o.Protocols {
		f.check(p != nil && p.Name() != "", "Protocols[%d] is nil or has no name", i)
		f.check(p == nil || slices.IndexFunc(o.Protocols, func(q hubproto.Protocol) bool { return q != nil && strings.EqualFold(p.Name(), q.Name()) }) == i,
			"Protocols has two that clients would call the same: number %d", i)
	}
	f.check(len(o.Protocols) <= actors.MaxProtocols, "Protocols has %d elements, more than %d", len(o.Protocols), actors.MaxProtocols)
	f.check(o.MaximumReceiveMessageSize >= Unlimited, "MaximumReceiveMessageSize is %d: it is a number of bytes, 0 for the default, or Unlimited", o.MaximumReceiveMessageSize)
	f.check(o.MaximumParallelInvocationsPerClient >= 0, "MaximumParallelInvocationsPerClient is %d: it is at least 1, or 0 for the default", o.MaximumParallelInvocationsPerClient)
	f.check(o.StreamBufferCapacity >= 0, "StreamBufferCapacity is %d: it is at least 1, or 0 for the default", o.StreamBufferCapacity)
	f.check(o.OutboxLimit == 0 || o.OutboxLimit >= leastBytes, "OutboxLimit is %d: it is at least %d bytes, or 0 for the default", o.OutboxLimit, leastBytes)
	f.check(o.DisconnectGrace >= Unlimited, "DisconnectGrace is %s: it is a time, 0 for the default, or Unlimited", o.DisconnectGrace)
	f.check(o.MaximumPendingResults >= 0, "MaximumPendingResults is %d: it is at least 1, or 0 for the default", o.MaximumPendingResults)
	keepAlive, timeout := cmp.Or(o.KeepAliveInterval, defaultKeepAlive), cmp.Or(o.ClientTimeoutInterval, defaultClientTimeout)
	f.check(keepAlive < timeout || keepAlive < 0 || timeout < 0, "KeepAliveInterval is %s, and ClientTimeoutInterval %s: clients that ping as often as they are pinged would be timed out", keepAlive, timeout)
	f.check(o.InboundLimit == 0 || o.InboundLimit >= leastBytes, "InboundLimit is %d: it is at least %d bytes, or 0 for the default", o.InboundLimit, leastBytes)
	return f.join("HubOptions")
}

// EndpointOptions are the options of one path that a hub is mapped to. Zero values stand for the defaults.
type EndpointOptions struct {
	// Authenticate tells who makes a request. It is asked for each: the negotiation, the connection, every poll and POST; they must all
	// come from the same user. Browsers cannot set headers on a WebSocket or an event stream: their clients send a token as the query value access_token. An error
	// refuses the request with status 401, or 403 if it is [ErrForbidden]. Nil or a nil Principal: an anonymous user.
	Authenticate func(*http.Request) (*Principal, error)

	// Transports are those that clients may use. Default: all.
	Transports Transports

	// AllowedOrigins are the origins of web pages that may connect besides the server's own, such as "https://app.example"; "*" allows all.
	// Their browsers are told so (CORS), preflights are answered. Default: none; the application's own CORS middleware can do it, except
	// for WebSockets.
	AllowedOrigins []string
	// AllowCredentials lets pages of allowed origins send what browsers send by themselves: cookies, passwords, certificates. It cannot be
	// combined with "*". Default: false; these are hidden from Authenticate and from the hub (a bearer token, which the page has sent, is
	// not), and the JavaScript client has to be told: withUrl(url, {withCredentials: false}).
	AllowCredentials bool
	// AllowedHosts are the names by which the server may be asked, with or without a port, such as "localhost"; other requests are refused
	// with status 421. It guards servers on private addresses against pages whose domain is made to resolve to them (DNS rebinding).
	// Default: any.
	AllowedHosts []string

	// RequestHeaderLimit is the number of bytes of headers and query that a request may have, because those of the one that opens a
	// connection are kept with it. More is refused with status 431. Default: 16 KiB.
	RequestHeaderLimit int

	// PollTimeout is how long a long poll waits for something to send before it is answered without. Less than 100 s, after which clients
	// give up. Default: 90 s.
	PollTimeout time.Duration
	// TransportSendTimeout is how long a client may take nothing of what waits for it. Default: 10 s.
	TransportSendTimeout time.Duration
	// CloseTimeout is how long a client may take to answer when a connection is closed. Default: 5 s.
	CloseTimeout time.Duration
}

// Validate reports everything that is wrong with the options.
func (o EndpointOptions) Validate() error {
	var f faults
	f.check(transport.Transports(o.Transports)&^transport.AllTransports == 0, "Transports has an unknown one: %#x", uint8(o.Transports))
	f.duration("PollTimeout", o.PollTimeout)
	f.check(o.PollTimeout < clientPollTimeout, "PollTimeout is %s: clients give up after %s", o.PollTimeout, clientPollTimeout)
	f.check(o.RequestHeaderLimit >= 0, "RequestHeaderLimit is %d: it is a number of bytes, or 0 for the default", o.RequestHeaderLimit)
	for i, host := range o.AllowedHosts {
		u, err := url.Parse("http://" + host)
		f.check(err == nil && u.Host == host && u.Hostname() != "" && !strings.Contains(host, "*"), "AllowedHosts[%d] is %q: it is a host, or a host and a port", i, host)
	}
	f.duration("TransportSendTimeout", o.TransportSendTimeout)
	f.duration("CloseTimeout", o.CloseTimeout)
	if _, err := transport.NewOrigins(o.AllowedOrigins, o.AllowCredentials); err != nil {
		f = append(f, fmt.Errorf("AllowedOrigins: %w", err))
	}
	return f.join("EndpointOptions")
}

// faults collects what is wrong.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (f *faults) duration(name string, d time.Duration) {
	f.check(d >= 0, "%s is %s: it is not negative", name, d)
}

func (f *faults) join(what string) error {
	if len(*f) == 0 {
		return nil
	}
	return fmt.Errorf("hubsys: %s: %w", what, errors.Join(*f...))
}

// settings puts the defaults where nothing was said.
func settings(h HubOptions, e EndpointOptions) *actors.Settings {
	s := &actors.Settings{
		MaxMessage:       cmp.Or(h.MaximumReceiveMessageSize, 32768),
		Parallel:         cmp.Or(h.MaximumParallelInvocationsPerClient, 1),
		StreamBuffer:     cmp.Or(h.StreamBufferCapacity, 10),
		OutboxLimit:      cmp.Or(h.OutboxLimit, defaultBytes),
		InboundLimit:     cmp.Or(h.InboundLimit, defaultBytes),
		HandshakeTimeout: cmp.Or(h.HandshakeTimeout, 15*time.Second),
		KeepAlive:        cmp.Or(h.KeepAliveInterval, defaultKeepAlive),
		ClientTimeout:    cmp.Or(h.ClientTimeoutInterval, defaultClientTimeout),
		CloseTimeout:     cmp.Or(e.CloseTimeout, 5*time.Second),
		SendTimeout:      cmp.Or(e.TransportSendTimeout, 10*time.Second),
		DisconnectGrace:  cmp.Or(h.DisconnectGrace, 30*time.Second),
		PendingResults:   cmp.Or(h.MaximumPendingResults, 100),
	}
	if s.MaxMessage == Unlimited {
		s.MaxMessage = 0
	}
	return s
}
