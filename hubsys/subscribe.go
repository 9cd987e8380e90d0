package hubsys

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/proto/hubproto"
	"github.com/troupe-go/troupe/transport"
)

// Subscribe makes a function of this program a client of the hub. It gets what is sent to everyone, to its groups, to the user of p and to its id, in
// the order in which all clients get it. It joins groups as any connection does: by Groups().Add(ctx, id, group), or in OnConnected.
//
// One goroutine calls receive for each message, which may begin before Subscribe returns. Values are as in the protocol "json", whatever
// HubOptions.Protocols says, and may be kept. Further messages wait for receive to return, and meet HubOptions.OutboxLimit and SlowClients as those of
// any slow client do. TransportSendTimeout of Config.EndpointDefaults is how long one message may take before the connection is closed. (A receive
// that puts messages into a queue without limit, such as the mailbox of an actor, is never slow.) A panic in receive is logged, and ends the
// subscription.
//
// The connection counts against MaximumConnections and MaximumConnectionsPerUser, and is closed when p.Expires has passed. Nil stands for an anonymous
// user. The policy of the hub is not asked; an error of OnConnected is returned. Limits and times for what clients send have no meaning, nor has
// MaximumConnectionLifetime. Call.Request is empty, without a transport. [Invoke] fails with [ErrNotSupported].
//
// The subscription ends when ctx does, by Disconnect or Reconnect of an [Audience], for the reasons for which a client is disconnected, and when the System is
// shut down. When receive has returned for the last time and OnDisconnected has run, ended gets the cause of which that was told, and is closed. The
// cause is nil for the end of ctx.
//
// If Subscribe fails, and ctx has not ended, nothing is left of the connection. It fails with the cause of ctx, with [ErrShutdown], and with [ErrGone]
// if the connection has been closed meanwhile.
func (c *HubContext) Subscribe(ctx context.Context, p *Principal, receive func(method string, args []json.RawMessage)) (id string, ended <-chan error, err error) {
	p = cmp.Or(p, anonymous)
	switch {
	case receive == nil:
		return "", nil, errors.New("hubsys: there is no function that receives")
	case len(p.UserID) > actors.MaxName:
		return "", nil, fmt.Errorf("hubsys: the UserID has %d bytes, more than %d", len(p.UserID), actors.MaxName)
	case ctx.Err() != nil:
		return "", nil, context.Cause(ctx)
	}
	if err := c.hub.limits.reserve(p.UserID, noAddress); err != nil {
		var limit *transport.LimitError
		if errors.As(err, &limit) {
			c.sys.runtime.Limits().Reach(limit.Limit)
		}
		return "", nil, fmt.Errorf("hubsys: %w", err)
	}
	s := &subscription{
		hub: c.hub, receive: receive, connected: make(chan struct{}), greeted: make(chan struct{}), gone: make(chan struct{}), ended: make(chan error, 1),
	}
	s.ctx, s.cut = context.WithCancelCause(ctx)
	id = c.sys.tokens.NewID()
	c.hub.subscriptions.Store(id, s)
	if s.conn, err = c.hub.runtime.ConnectSubscriber(id, &newSession(p, &Request{}, nil).identity, s, c.subscriberSettings()); err != nil {
		c.hub.subscriptions.Delete(id)
		c.hub.limits.release(p.UserID, noAddress)
		s.cut(err)
		return "", nil, err
	}
	go s.run()
	s.conn.Commit(copy(s.conn.Buffer(), hubproto.AppendHandshakeRequest(nil, hubproto.HandshakeRequest{Protocol: hubproto.JSON.Name(), Version: 1})))
	context.AfterFunc(s.ctx, s.end)
	for _, step := range []<-chan struct{}{s.connected, s.greeted} {
		select {
		case <-step:
		case <-s.gone:
			return "", nil, c.whyGone(ctx, s.cause)
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		}
	}
	return id, s.ended, nil
}

// whyGone returns why a connection has ended before it was open.
func (c *HubContext) whyGone(ctx context.Context, cause error) error {
	switch {
	case cause != nil:
		return fromRuntime(cause)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case c.sys.isClosing():
		return ErrShutdown
	}
	return ErrGone
}

// subscriberSettings are those of a connection that sends nothing and cannot connect again.
func (c *HubContext) subscriberSettings() *actors.Settings {
	const never = math.MaxInt64 / 4
	s := settings(c.options, c.sys.endpointDefaults)
	s.MaxMessage, s.KeepAlive, s.IdleTimeout, s.Lifetime = 0, time.Duration(never), 0, 0
	return s
}

// subscription is the transport of a connection of Subscribe. It fetches a turn's worth of messages at a time, as an event stream does, and nobody
// answers a ping.
type subscription struct {
	hub       *hub
	conn      *actors.Connection
	receive   func(method string, args []json.RawMessage)
	ctx       context.Context // of fetching
	cut       context.CancelCauseFunc
	connected chan struct{} // closed when OnConnected has succeeded
	greeted   chan struct{} // closed when other nodes send what is for the connection
	gone      chan struct{} // closed when the connection has ended, for the cause
	cause     error
	ended     chan error

	hasGreeting bool // of the goroutine that receives
}

var _ link.Fetcher = (*subscription)(nil)

// failure is the cause of the context of a subscription that fails.
type failure struct{ error }

var errSubscriptionOver = errors.New("the subscription is over")

// Polls is part of link.Fetcher.
func (s *subscription) Polls() bool { return false }

// Cut is part of link.Fetcher.
func (s *subscription) Cut() { s.cut(errSubscriptionOver) }

// end ends the connection. receive may still run.
func (s *subscription) end() {
	var failed failure
	errors.As(context.Cause(s.ctx), &failed)
	s.conn.End(failed.error)
}

// over says that the connection has ended.
func (s *subscription) over(cause error) {
	s.cause = cause
	close(s.gone)
}

// run calls receive until there are no more messages, or one of these calls panics or calls runtime.Goexit.
func (s *subscription) run() {
	defer func() {
		<-s.gone
		s.ended <- endCause(s.cause)
		close(s.ended)
	}()
	returned := false
	defer func() {
		if reason := recover(); !returned {
			err := &actors.PanicError{Value: reason, Stack: debug.Stack()}
			s.hub.log.Error("a subscriber panicked", "connection", s.conn.ID(), "error", logs.Error(err), "stack", string(err.Stack))
			s.cut(failure{err})
		}
	}()
	var err error
	for err == nil {
		err = s.take()
	}
	s.cut(err)
	returned = true
}

// take waits for output, and delivers it. It returns io.EOF behind the last one.
func (s *subscription) take() error {
	out, err := s.conn.Take(s.ctx)
	if err != nil {
		return err
	}
	delivered := false
	defer func() { out.Done(delivered) }()
	for _, packet := range out.Messages() {
		if s.hasGreeting {
			if err := s.pass(packet, out); err != nil {
				return err
			}
		} else { // it is the answer to the handshake
			s.hasGreeting = true
			close(s.greeted)
			out.Advance(len(packet))
		}
	}
	delivered = true
	return nil
}

// pass passes the messages of a packet to receive, one by one, each of which may take its time.
func (s *subscription) pass(packet []byte, out link.Output) error {
	protocol := s.conn.Protocol()
	for len(packet) > 0 {
		n, err := protocol.Next(packet, 0, 0)
		if err != nil {
			return failure{err}
		}
		var m hubproto.Message
		if err := protocol.Parse(packet[:n], &m); err != nil {
			return failure{err}
		}
		packet = packet[n:]
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if m.Type == hubproto.Invocation {
			s.receive(string(m.Target), arguments(&m))
		}
		out.Advance(n)
	}
	return nil
}

// arguments returns copies of the arguments of a message, whose memory belongs to all that it was sent to.
func arguments(m *hubproto.Message) []json.RawMessage {
	elements := hubproto.Elements(bytes.Clone(m.Arguments))
	args := make([]json.RawMessage, len(elements))
	for i, element := range elements {
		args[i] = slices.Clip(element)
	}
	return args
}
