package hubsys

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
	"github.com/troupe-go/troupe/transport"
)

// Unlimited is the value for no limit, of options that say so.
const Unlimited = -1

// HubOptions are the options of one hub. Zero values stand for the defaults, which are those of ASP.NET Core SignalR.
type HubOptions struct {
	// Name identifies the hub in its System: in the addresses of actors, in logs, and for clients of SignalR 2, which write it in any case. Proxies
	// have it as it is. Default: the name of the hub's type, which proxies have in camel case.
	Name string
	// Methods are the methods of the hub about which there is something special. Clients call all others by their names in Go.
	Methods []Method

	// Policy decides who may use the hub. Nil: everybody, anonymous users too.
	Policy Policy
	// Filters wrap the hub. The first one is the outermost.
	Filters []Filter
	// SendFilters wrap the sending of messages to clients. The first one is the outermost.
	SendFilters []func(next SendFunc) SendFunc
	// Services provide parameters of methods that clients do not send. Nil: clients send all.
	Services Services
	// NoImplicitServices says that only parameters of the type [From] are services. Default: false, parameters of a type for which Services
	// have a provider are, if it is a pointer, an interface, a function, or a type that is declared somewhere.
	NoImplicitServices bool

	// Protocols are the encodings that clients may choose from, seven at most. Default: hubproto.JSON and hubproto.MessagePack.
	Protocols []hubproto.Protocol

	// HandshakeTimeout is how long a new connection may take to say which protocol it speaks. Default: 15 s.
	HandshakeTimeout time.Duration
	// KeepAliveInterval is the time between two pings to a client. It must be below the timeout of the clients, which is 30 s unless they change it.
	// Default: 15 s.
	KeepAliveInterval time.Duration
	// ClientTimeoutInterval is how long a client that has sent a ping may be silent. Default: 30 s. Like all times here, it is checked once a
	// second.
	ClientTimeoutInterval time.Duration
	// IdleTimeout is how long a client that has never sent a ping may be silent. (All official clients send pings.) Default: 10 minutes. Unlimited: no
	// limit.
	IdleTimeout time.Duration
	// MaximumConnectionLifetime is after what time a connection is closed so that its client reconnects, by which it is authenticated anew, and may come
	// to another server. Default: no limit.
	MaximumConnectionLifetime time.Duration
	// InvokeTimeout is how long an [Invoke] with a context that has no deadline waits for the answer of a client. Default: 5 minutes. Unlimited: no
	// limit.
	InvokeTimeout time.Duration
	// MaximumReceiveMessageSize is the number of bytes that one message of a client may have, including its framing. Default: 32768.
	// Unlimited: no limit.
	MaximumReceiveMessageSize int
	// MaximumParallelInvocationsPerClient is how many calls of one client run at once; others wait, in their order. Default: 1, and 100 for
	// clients of SignalR 2.
	MaximumParallelInvocationsPerClient int
	// MaximumCallsPerSecond is how many calls a client may make in a second on average, those of unknown methods included; in a burst, twice as many.
	// Further ones fail before their arguments are decoded. Default: no limit: the calls of a client run one after the other, what waits of them is
	// bounded, and then nothing further is read.
	MaximumCallsPerSecond int
	// MaximumCallsPerSecondOfUser is MaximumCallsPerSecond for all connections of a user together. Default: no limit.
	MaximumCallsPerSecondOfUser int
	// MaximumGroupsPerConnection is in how many groups a connection can be. Further ones cannot be joined: [ErrTooManyGroups]. Default: 10,000.
	MaximumGroupsPerConnection int
	// MaximumGroupNameBytes is how many bytes the names of these groups may have together. Default: 1 MiB.
	MaximumGroupNameBytes int
	// MaximumNamesPerAudience is how many connections, groups or users an [Audience] can name, and how many connections it can leave out. With
	// more its methods fail: [ErrTooManyNames]. Default: 100,000.
	MaximumNamesPerAudience int
	// StreamBufferCapacity is the number of items of one stream from a client that may wait for the method to take them. When there are
	// more, nothing further is read from the client. Default: 10. (Calls with streams, in either direction, do not count as parallel
	// invocations; 1,000 of one client can run at once.)
	StreamBufferCapacity int
	// EnableDetailedErrors sends the texts of all errors to clients, not only that of a [HubError]. Default: false.
	EnableDetailedErrors bool
	// ExplainArguments adds to the error of a call whose arguments do not fit which of them did not, and why, if EnableDetailedErrors is set as
	// well. Default: false, that is logged at the level Debug alone.
	ExplainArguments bool

	// OutboxLimit is the number of bytes that may wait for one client. At most 2 GiB. Default: 1 MiB.
	//
	// When half of the limit waits, senders wait. A Send to several clients waits until at least half of them are below that mark. A client that
	// is slower than those delays senders for one second in all; after that, it is disconnected when it is at the limit. One that takes nothing at
	// all delays them for 50 ms, unless four times the limit waits for it. In a loop of sends without a pause, that concerns the slower half of the
	// clients. A client that takes an eighth of the limit each second is not disconnected before four times the limit waits for it, because many
	// may have sent to it at once. Only time in which the client's own connection was full counts.
	//
	// A Send to one client, and the results of its own calls, wait for it as long as it takes anything within TransportSendTimeout, and do not
	// count against the limit. Each sender that waits may exceed the limit by one message. SlowClients says what happens instead of disconnecting.
	OutboxLimit int
	// SlowClients is what happens to a client that is slower than the others and at its OutboxLimit, instead of being disconnected. It concerns messages to
	// several clients, and those of senders that do not wait; never results, streams, or calls whose results are waited for. Drops are counted
	// (the metric troupe.messages.dropped), and logged once for each connection. [Audience.IfSlow] and [Audience.Latest] say it for a single message.
	// Default: DisconnectSlow.
	SlowClients SlowPolicy
	// ReconnectOnGap closes all connections of a node so that their clients connect again, and get what they show anew, when messages that another
	// node had sent to any of them were lost, because that could not be reached for a while. What a node that has died had still to send, or
	// one that could not be reached for more than a minute had sent, nobody knows; nor what was sent meanwhile to a group, a user or a connection that
	// this node has had only since then. Default: clients miss these messages, which are counted (the metric troupe.cluster.messages.lost).
	ReconnectOnGap bool
	// InboundLimit is the number of bytes from one client that may wait to be handled. When it is reached, nothing further is read from the
	// client. Default: 1 MiB.
	InboundLimit int

	// StatefulReconnectBufferSize is the number of bytes of messages that are kept for a client until it says that it has received them, where
	// [EndpointOptions].AllowStatefulReconnects is set and the client takes part. When there are more, nothing further is written to the client
	// before it does. Clients say so once a second, so this is about the number of bytes per second that such a client can get; one that never
	// does is disconnected as one that takes nothing. Default: OutboxLimit. (In ASP.NET Core it is 100,000.)
	StatefulReconnectBufferSize int

	// DisconnectGrace is how long the calls of a client that has gone may run. Default: 30 s. Unlimited: their contexts do not end, and a method
	// that never returns keeps its connection in memory for ever.
	//
	// What was received before the end of the client is executed. The contexts of methods and of OnConnected do not end with their client, because
	// what they do is often meant for others, such as a message or an entry in a database; they end after this time. [Call.Aborted] tells at once
	// that the client has gone, and streams end at once. OnDisconnected runs behind everything that was received, as one more call would: when all
	// calls have begun (with one call at a time: ended), or at most CloseTimeout after this time.
	DisconnectGrace time.Duration
	// MaximumPendingResults is how many calls of one client may wait for the client's answer to an [Invoke] without counting as parallel
	// invocations. Further ones do count, so the next calls of the client wait. Default: 100.
	MaximumPendingResults int
}

// Method says what is special about one method of a hub.
type Method struct {
	// Func is the method, as an expression such as (*Chat).Send.
	Func any
	// Name is what clients call the method. Methods of one name must take different numbers of arguments, by which calls are told apart. Default: its
	// name in Go.
	Name string
	// Hidden says that clients cannot call the method. Default: false.
	Hidden bool
	// Policy decides who may call the method, of those who may use the hub. Nil: all of them.
	Policy Policy
}

const (
	defaultBytes = 1 << 20
	leastBytes   = 64 << 10

	mostCallRate     = 1_000_000
	defaultMaxGroups = 10_000
	defaultMaxNames  = 100_000

	defaultKeepAlive     = 15 * time.Second
	defaultClientTimeout = 30 * time.Second
	defaultPollTimeout   = 90 * time.Second
	clientPollTimeout    = 100 * time.Second // after which the official clients give up
	defaultRequestLimit  = 16 << 10
)

// Validate reports everything that is wrong with the options, and returns nil if nothing is.
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
	f.check(o.MaximumCallsPerSecond >= 0 && o.MaximumCallsPerSecond <= mostCallRate, "MaximumCallsPerSecond is %d: it is at least 1 and at most %d, or 0 for no limit", o.MaximumCallsPerSecond, mostCallRate)
	f.check(o.MaximumCallsPerSecondOfUser >= 0 && o.MaximumCallsPerSecondOfUser <= mostCallRate, "MaximumCallsPerSecondOfUser is %d: it is at least 1 and at most %d, or 0 for no limit", o.MaximumCallsPerSecondOfUser, mostCallRate)
	f.orUnlimited("IdleTimeout", o.IdleTimeout)
	f.duration("MaximumConnectionLifetime", o.MaximumConnectionLifetime)
	f.orUnlimited("InvokeTimeout", o.InvokeTimeout)
	f.check(o.MaximumGroupsPerConnection >= 0, "MaximumGroupsPerConnection is %d: it is at least 1, or 0 for the default", o.MaximumGroupsPerConnection)
	f.check(o.MaximumGroupNameBytes >= 0 && o.MaximumGroupNameBytes <= math.MaxInt32, "MaximumGroupNameBytes is %d: it is at least 1 and less than 2 GiB, or 0 for the default", o.MaximumGroupNameBytes)
	f.check(o.MaximumNamesPerAudience >= 0, "MaximumNamesPerAudience is %d: it is at least 1, or 0 for the default", o.MaximumNamesPerAudience)
	f.check(o.StreamBufferCapacity >= 0, "StreamBufferCapacity is %d: it is at least 1, or 0 for the default", o.StreamBufferCapacity)
	f.check(o.OutboxLimit == 0 || o.OutboxLimit >= leastBytes && o.OutboxLimit <= math.MaxInt32, "OutboxLimit is %d: it is at least %d bytes and at most 2 GiB, or 0 for the default", o.OutboxLimit, leastBytes)
	f.check(o.SlowClients <= DropNewest, "SlowClients is %d: it is DisconnectSlow, DropOldest or DropNewest", uint8(o.SlowClients))
	f.orUnlimited("DisconnectGrace", o.DisconnectGrace)
	f.check(o.StatefulReconnectBufferSize >= 0, "StatefulReconnectBufferSize is %d: it is at least 1, or 0 for the default", o.StatefulReconnectBufferSize)
	f.check(o.MaximumPendingResults >= 0, "MaximumPendingResults is %d: it is at least 1, or 0 for the default", o.MaximumPendingResults)
	keepAlive, timeout := cmp.Or(o.KeepAliveInterval, defaultKeepAlive), cmp.Or(o.ClientTimeoutInterval, defaultClientTimeout)
	f.check(keepAlive < timeout || keepAlive < 0 || timeout < 0, "KeepAliveInterval is %s, and ClientTimeoutInterval %s: clients that ping as often as they are pinged would be timed out", keepAlive, timeout)
	for i, filter := range o.Filters {
		f.check(filter != nil, "Filters[%d] is nil", i)
	}
	for i, filter := range o.SendFilters {
		f.check(filter != nil, "SendFilters[%d] is nil", i)
	}
	if broken, ok := o.Services.(*fields); ok {
		f.add("Services", broken.fault)
	}
	f.check(o.InboundLimit == 0 || o.InboundLimit >= leastBytes, "InboundLimit is %d: it is at least %d bytes, or 0 for the default", o.InboundLimit, leastBytes)
	return f.join("HubOptions")
}

// EndpointOptions are the options of one path that a hub is mapped to. Zero values stand for the defaults.
type EndpointOptions struct {
	// Authenticate tells who makes a request. It is called for each: the negotiation, the connection, every poll and POST, a refresh; they must
	// all come from the same user. It sees what middleware has put into the context of the request. [BearerToken] finds tokens, and package
	// jwtauth checks them. An error refuses the request with status 401, or 403 if it is [ErrForbidden]. Nil, or a nil Principal: an anonymous
	// user, whom [HubOptions].Policy may refuse.
	Authenticate func(*http.Request) (*Principal, error)
	// IgnoreExpiration leaves connections open when Principal.Expires has passed. Default: false, they are closed so that their clients
	// reconnect. (ASP.NET Core leaves them open unless CloseOnAuthenticationExpiration is set.)
	IgnoreExpiration bool
	// Refresh lets clients refresh their credentials by POST {path}/refresh, as ASP.NET Core 11 and its clients do. Nil: there is no such path.
	Refresh *RefreshOptions

	// Transports are those that clients may use. Default: all.
	Transports Transports

	// AllowStatefulReconnects lets clients that were made with withStatefulReconnect go on with their connection over another WebSocket when they
	// have lost one, within 15 s: nothing is lost or doubled, the id, groups and items stay, and the hub does not notice. Default: false.
	AllowStatefulReconnects bool

	// AllowedOrigins are the origins of web pages that may connect besides those of the server itself, such as "https://app.example".
	// "https://*.example.com" stands for all subdomains of example.com, "null" for sandboxed pages and files, and "*" for all origins. The headers of CORS are set, and preflights are answered. Default: none; then CORS middleware of the application can do it, except for
	// WebSockets.
	AllowedOrigins []string
	// AllowCredentials allows pages of allowed origins the credentials that browsers send by themselves: cookies, passwords, certificates. It
	// cannot be combined with "*" or "null". Default: false; credentials are hidden from Authenticate and from the hub, except for a bearer token, which the
	// page itself has sent, and the JavaScript client must be made with withUrl(url, {withCredentials: false}).
	AllowCredentials bool
	// AllowOrigin decides about origins that AllowedOrigins does not list and that are not the server's own, for example those of the customers
	// in a database. It may be called several times for a request. The origin "null" gets no credentials. Nil: none are allowed.
	AllowOrigin func(r *http.Request, origin string) bool
	// AllowedHosts are the hosts that requests may be for, with or without a port, such as "localhost". Other requests are refused with status
	// 421. It protects servers on private addresses from pages whose domain is made to resolve to them (DNS rebinding). Default: any.
	AllowedHosts []string

	// Subprotocol chooses among the subprotocols that a WebSocket is asked for with, or returns an empty string for none. SignalR clients ask for
	// none; a proxy in front of them may. Nil: none is chosen.
	Subprotocol func(requested []string) string

	// RequestHeaderLimit is the number of bytes that the headers and the query of a request may have. More is refused with status 431, because
	// those of the request that opens a connection are kept with it. Default: 16 KiB.
	RequestHeaderLimit int

	// PollTimeout is how long a long poll waits for something to send before it is answered without. Less than 100 s, after which clients
	// give up. Default: 90 s.
	PollTimeout time.Duration
	// TransportSendTimeout is how long a client may take nothing of what waits for it. On WebSockets, that it takes something is seen in steps of
	// about 64 KB. Over event streams and polls it is seen when a third of the kernel's send buffer is free, which can have megabytes where packets
	// travel fast: for clients that are slow there, http.Server.ConnContext can give connections a smaller one (SetWriteBuffer). Default: 10 s.
	TransportSendTimeout time.Duration
	// CloseTimeout is how long a client may take to answer when a connection is closed. Default: 5 s.
	CloseTimeout time.Duration
}

// Validate reports everything that is wrong with the options, and returns nil if nothing is.
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
	_, err := o.origins()
	f.add("AllowedOrigins", err)
	if o.Refresh != nil {
		f.duration("Refresh.MaximumLifetime", o.Refresh.MaximumLifetime)
	}
	return f.join("EndpointOptions")
}

func (o EndpointOptions) origins() (*transport.Origins, error) {
	return transport.NewOrigins(o.AllowedOrigins, o.AllowOrigin, o.AllowCredentials)
}

// faults collects the faults of options.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (f *faults) duration(name string, d time.Duration) {
	f.check(d >= 0, "%s is %s: it is not negative", name, d)
	f.unit(name, d)
}

func (f *faults) orUnlimited(name string, d time.Duration) {
	f.check(d >= Unlimited, "%s is %s: it is a time, 0 for the default, or Unlimited", name, d)
	f.unit(name, d)
}

func (f *faults) unit(name string, d time.Duration) {
	f.check(d <= 0 || d >= time.Microsecond, "%s is %s: a number alone means nanoseconds; write 15*time.Second", name, d)
}

// add adds the faults of a part.
func (f *faults) add(what string, err error) {
	if err != nil {
		*f = append(*f, fmt.Errorf("%s: %w", what, err))
	}
}

func (f *faults) join(what string) error {
	if len(*f) == 0 {
		return nil
	}
	return fmt.Errorf("hubsys: %s: %w", what, errors.Join(*f...))
}

// settings returns the options as the runtime takes them, with the defaults.
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
		CallRate:         h.MaximumCallsPerSecond,
		UserCallRate:     h.MaximumCallsPerSecondOfUser,
		IdleTimeout:      max(0, cmp.Or(h.IdleTimeout, 10*time.Minute)),
		Lifetime:         h.MaximumConnectionLifetime,
		InvokeTimeout:    max(0, cmp.Or(h.InvokeTimeout, 5*time.Minute)),
		MaxGroups:        cmp.Or(h.MaximumGroupsPerConnection, defaultMaxGroups),
		MaxGroupNames:    cmp.Or(h.MaximumGroupNameBytes, defaultBytes),
		KeptLimit:        cmp.Or(h.StatefulReconnectBufferSize, h.OutboxLimit, defaultBytes),
		PendingResults:   cmp.Or(h.MaximumPendingResults, 100),
		IgnoreExpiration: e.IgnoreExpiration,
	}
	if s.MaxMessage == Unlimited {
		s.MaxMessage = 0
	}
	return s
}
