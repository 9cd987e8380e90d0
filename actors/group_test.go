package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// upperProtocol is a second protocol for tests: JSON in binary messages, with upper-case targets.
type upperProtocol struct{ hubproto.Protocol }

func (upperProtocol) Name() string { return "upper" }
func (upperProtocol) Binary() bool { return true }
func (p upperProtocol) AppendInvocation(dst, id []byte, target string, args []any) ([]byte, error) {
	return p.Protocol.AppendInvocation(dst, id, strings.ToUpper(target), args)
}

func TestAudienceSelectsReceivers(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		clients := map[string]*client{}
		for _, id := range []string{"a", "b", "c", "d"} {
			clients[id] = e.open(id, "user of "+id[:1])
		}
		clients["e"] = e.open("e", "user of a")
		for _, id := range []string{"a", "b"} {
			require.NoError(t, e.hub.Join(ctx, id, "g"))
		}
		require.NoError(t, e.hub.Join(ctx, "b", "h"))
		a := clients["a"].conn
		tests := []struct {
			to   Audience
			want string // the receivers, each as often as it receives the message
		}{
			{Audience{Kind: All}, "a b c d e"},
			{Audience{Kind: All, Except: a}, "b c d e"},
			{Audience{Kind: All, ExceptIDs: []string{"b", "e", "x"}}, "a c d"},
			{Audience{Kind: All, Except: a, ExceptIDs: []string{"b"}}, "c d e"},
			{Audience{Kind: Caller, Conn: a}, "a"},
			{Audience{Kind: Connections, Names: []string{"a", "c", "a", "nobody"}}, "a c"},
			{Audience{Kind: Connections, Names: []string{"a", "c"}, Except: a}, "c"},
			{Audience{Kind: Groups, Names: []string{"g"}}, "a b"},
			{Audience{Kind: Groups, Names: []string{"g", "h", "none"}}, "a b b"},
			{Audience{Kind: Groups, Names: []string{"g"}, Except: a}, "b"},
			{Audience{Kind: Groups, Names: []string{"g"}, ExceptIDs: []string{"b"}}, "a"},
			{Audience{Kind: Groups, Names: []string{"G"}}, ""},
			{Audience{Kind: Users, Names: []string{"user of a"}}, "a e"},
			{Audience{Kind: Users, Names: []string{"user of a", "user of c", ""}}, "a c e"},
		}
		for i, test := range tests {
			target := fmt.Sprint("t", i)
			e.send(&test.to, target, i)
			e.settle()
			var got []string
			for id, c := range clients {
				for _, record := range c.messages() {
					if record == invocationRecord(target, i) {
						got = append(got, id)
					}
				}
			}
			slices.Sort(got)
			assert.Equal(t, test.want, strings.Join(got, " "), "%+v", test.to)
		}
	})
}

func TestSendErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		ctx, cancel := context.WithCancelCause(context.Background())
		cause := errors.New("enough")
		cancel(cause)
		require.ErrorIs(t, e.hub.Send(ctx, &Audience{}, "x", nil), cause)
		require.ErrorContains(t, e.hub.Send(context.Background(), &Audience{}, "x", []any{make(chan int)}), "cannot be encoded")
		require.NoError(
			t,
			e.hub.Send(context.Background(), &Audience{Kind: Groups, Names: []string{"empty"}}, "x", []any{make(chan int)}),
			"nothing is encoded without receivers",
		)
		err := e.hub.Send(context.Background(), &Audience{}, "x", []any{panickingMarshaler{}})
		var p *PanicError
		require.ErrorAs(t, err, &p)
		e.settle()
		assert.Empty(t, c.messages())
		require.NoError(t, e.shutdown())
		require.ErrorIs(t, e.hub.Send(context.Background(), &Audience{}, "x", nil), ErrShutdown)
	})
}

// panickingMarshaler is a value whose MarshalJSON panics.
type panickingMarshaler struct{}

func (panickingMarshaler) MarshalJSON() ([]byte, error) { panic("marshal") }

// marshalerFunc is a json.Marshaler that encodes the result of the function.
type marshalerFunc func() string

func (m marshalerFunc) MarshalJSON() ([]byte, error) { return json.Marshal(m()) }

func TestSendEncodesOncePerProtocol(t *testing.T) {
	inBubbleWith(t, second, func(t *testing.T, e *env) {
		jsonClient, upperClient := e.open("a", ""), e.connect("b", "")
		upperClient.sendHandshake("UPPER")
		e.settle()
		encoded := 0
		arg := marshalerFunc(func() string { encoded++; return "x" })
		e.send(&Audience{}, "hello", arg)
		e.send(&Audience{Kind: Connections, Names: []string{"a", "b"}}, "again", arg)
		e.settle()
		assert.Equal(t, []string{invocationRecord("hello", "x"), invocationRecord("again", "x")}, jsonClient.messages())
		assert.Equal(t, []string{invocationRecord("HELLO", "x"), invocationRecord("AGAIN", "x")}, upperClient.messages())
		assert.Equal(t, 4, encoded, "once for each protocol and Send")
		frames, _ := linktest.ParseFrames(upperClient.socket.Wire())
		assert.EqualValues(t, wsframe.Binary, frames[len(frames)-1].Opcode)
		frames, _ = linktest.ParseFrames(jsonClient.socket.Wire())
		assert.EqualValues(t, wsframe.Text, frames[len(frames)-1].Opcode)

		jsonClient.socket.Cut()
		e.settle()
		encoded = 0
		e.send(&Audience{}, "x", arg)
		assert.Equal(t, 1, encoded, "only for protocols that have receivers")
	}, hubproto.JSON, upperProtocol{hubproto.JSON})
}

// A connection that joins a group while the arguments are being encoded receives the message, even if it is the first with its
// protocol.
func TestMemberWithNewProtocolJoinsDuringEncoding(t *testing.T) {
	inBubbleWith(t, second, func(t *testing.T, e *env) {
		jsonClient, upperClient := e.open("a", ""), e.connect("b", "")
		upperClient.sendHandshake("upper")
		e.settle()
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		encoded := 0
		e.send(&Audience{Kind: Groups, Names: []string{"g"}}, "hello", marshalerFunc(func() string {
			encoded++
			assert.NoError(t, e.hub.Join(context.Background(), "b", "g"), "no lock is held")
			return "x"
		}))
		e.settle()
		assert.Equal(t, []string{invocationRecord("hello", "x")}, jsonClient.messages())
		assert.Equal(t, []string{invocationRecord("HELLO", "x")}, upperClient.messages())
		assert.Equal(t, 2, encoded)
	}, hubproto.JSON, upperProtocol{hubproto.JSON})
}

// A panic while a message is sent to a group does not make the group unusable.
func TestPanicDuringSendDoesNotLockGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		broken := bareConnection("broken")
		broken.out.Init((*boxOwner)(broken), nil, 1<<20, wsframe.Text) // without a flusher, so that pushing panics
		require.True(t, broken.out.AttachSocket(linktest.NewSocket()))
		e.hub.groups.join("g", broken)
		send := func() error {
			return e.hub.Send(context.Background(), &Audience{Kind: Groups, Names: []string{"g"}}, "x", nil)
		}
		require.ErrorContains(t, send(), `sending "x" failed`)
		require.NoError(t, send(), "the group is not locked")
		e.hub.groups.leave("g", broken)
		require.NoError(t, send())
		e.settle()
		assert.NotEmpty(t, c.messages())
	})
}

// Sending to the members of a group does not block. Connections with a full outbox are handled by Finish.
func TestSendToFullSocketsDoesNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i := range 20 {
			e.open(fmt.Sprint(i), "", linktest.Full, func(s *linktest.Socket) { s.BlocksOnly = i%2 == 0 })
		}
		healthy := e.open("healthy", "")
		m := message{hub: e.hub, target: "x", args: []any{strings.Repeat("x", e.settings.OutboxLimit*3/5)}, limited: true}
		var s outbox.Sending
		require.NoError(t, e.hub.everyone.send(&m, nil, &s))
		e.settle()
		require.NoError(t, e.hub.everyone.send(&m, nil, &s))
		e.settle()
		assert.Len(t, healthy.messages(), 2)
		assert.Len(t, e.hub.everyone.members, 21)
		s.Finish(context.Background())
		e.settle()
		assert.Len(t, e.hub.everyone.members, 1)
		assert.Len(t, healthy.messages(), 2)
	})
}

// The messages of one sender arrive in order and at most once, through audiences of all kinds and with concurrent joins and leaves.
// Connections that are in the audience all the time receive all of them.
func TestMessagesOfOneSenderArriveInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const connections, groups, senders = 12, 4, 4
		e.settings.OutboxLimit = 8 << 20
		ctx := context.Background()
		round := 0
		e.checkProperty(func(t *rapid.T) {
			round++
			name := func(kind string, i int) string { return fmt.Sprint(kind, round, "-", i) }
			clients := make([]*client, connections)
			fixed := make([][]bool, connections) // by connection and group: whether the connection is a member all the time
			for i := range clients {
				kind := rapid.SampledFrom([]string{"fast", "blocking", "slow"}).Draw(t, "kind")
				clients[i] = e.open(name("c", i), name("u", i%3), func(s *linktest.Socket) { s.BlocksOnly = kind == "blocking" })
				if kind == "slow" {
					clients[i].socket.Change(func() { clients[i].socket.Room = 100 })
				}
				for g := range groups {
					in := rapid.Bool().Draw(t, "in")
					fixed[i] = append(fixed[i], in)
					if in {
						require.NoError(t, e.hub.Join(ctx, clients[i].conn.id, name("g", g)))
					}
				}
			}
			type sent struct {
				to   Audience
				must []int // indexes of the clients that have to receive it
			}
			plans := make([][]sent, senders)
			for s := range plans {
				for range rapid.IntRange(5, 25).Draw(t, "sends") {
					var one sent
					one.to.Kind = rapid.SampledFrom([]Kind{All, Connections, Groups, Users}).Draw(t, "kind")
					i := rapid.IntRange(0, connections-1).Draw(t, "name")
					for c := range clients {
						switch one.to.Kind {
						case Connections:
							one.to.Names = []string{name("c", i), name("c", (i+5)%connections)}
							if c != i && c != (i+5)%connections {
								continue
							}
						case Groups:
							one.to.Names = []string{name("g", i%groups)}
							if !fixed[c][i%groups] {
								continue
							}
						case Users:
							one.to.Names = []string{name("u", i%3)}
							if c%3 != i%3 {
								continue
							}
						}
						one.must = append(one.must, c)
					}
					plans[s] = append(plans[s], one)
				}
			}
			var all sync.WaitGroup
			for s, plan := range plans {
				all.Go(func() {
					for n, one := range plan {
						assert.NoError(e.t, e.hub.Send(ctx, &one.to, "note", []any{s, n, ""}))
					}
				})
			}
			for _, c := range clients { // slow sockets accept a few bytes at a time
				all.Go(func() {
					for i := range 20 {
						c.socket.Drain(i)
					}
					c.socket.Drain(-1)
				})
			}
			for i, c := range clients { // each client joins and leaves the groups of which it is not a fixed member
				all.Go(func() {
					for g := range groups {
						if !fixed[i][g] {
							assert.NoError(e.t, e.hub.Join(ctx, c.conn.id, name("g", g)))
							assert.NoError(e.t, e.hub.Leave(ctx, c.conn.id, name("g", g)))
						}
					}
				})
			}
			all.Wait()
			e.settle()
			for i, c := range clients {
				got := noteNumbers(t, c.messages())
				for s, plan := range plans {
					require.True(t, slices.IsSorted(got[s]), "sender %d: %v", s, got[s])
					require.Len(t, slices.Compact(slices.Clone(got[s])), len(got[s]), "at most once")
					for n, one := range plan {
						if slices.Contains(one.must, i) {
							require.Contains(t, got[s], n, "%s has not got %+v", c.conn.id, one.to)
						}
					}
				}
				c.socket.Cut()
			}
			e.settle()
		})
	})
}

// Messages that a method sends to its caller arrive before its completion.
func TestSendsOfMethodArriveBeforeItsCompletion(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.methods["send"] = func(k *Call, args string) (any, error) {
			for _, kind := range []Kind{All, Caller} {
				if err := e.hub.Send(k, &Audience{Kind: kind, Conn: k.Connection()}, "x", []any{json.RawMessage(args)}); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
		c := e.open("a", "")
		var calls, want []string
		for i := range 50 {
			id := fmt.Sprint(i)
			calls = append(calls, call(id, "send", i))
			want = append(want, invocationRecord("x", []int{i}), invocationRecord("x", []int{i}), result(id, "null"))
		}
		c.send(calls...)
		e.settle()
		assert.Equal(t, want, c.messages())
	})
}
