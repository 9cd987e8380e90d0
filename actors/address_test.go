package actors

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/proto/hubproto"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// ask sends a message to a PID, and returns the answer.
func (r *actorRecorder) ask(e *env, pid *actor.PID, m any) any {
	e.t.Helper()
	before := len(r.messages())
	e.sys.actorSystem.Root.RequestWithCustomSender(pid, m, r.pid)
	e.settle()
	answers := r.messages()[before:]
	require.Len(e.t, answers, 1, "%T", m)
	return answers[0]
}

// askResult is ask for messages that are answered with a SendResult, whose error it returns.
func (r *actorRecorder) askResult(e *env, pid *actor.PID, m any) string {
	e.t.Helper()
	answer := r.ask(e, pid, m)
	require.IsType(e.t, &troupev1.SendResult{}, answer)
	return answer.(*troupev1.SendResult).GetError()
}

// watch watches a PID.
func (r *actorRecorder) watch(e *env, pid *actor.PID) {
	e.tellSystem(pid, &actor.Watch{Watcher: r.pid})
	e.settle()
}

// terminated returns the PIDs that Terminated has been received for, by id.
func (r *actorRecorder) terminated() (ids []string) {
	for _, m := range r.messages() {
		if m, ok := m.(*actor.Terminated); ok {
			ids = append(ids, m.GetWho().GetId())
		}
	}
	return ids
}

func groupAudience(name string) *Audience { return &Audience{Kind: Groups, Names: []string{name}} }
func userAudience(name string) *Audience  { return &Audience{Kind: Users, Names: []string{name}} }
func clientAudience(name string) *Audience {
	return &Audience{Kind: Connections, Names: []string{name}}
}

func TestPIDsOfAudiences(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		h, c := e.hub, e.open("a", "ann")
		assert.Equal(t, h.Inbox(), h.PID(&Audience{}))
		assert.Equal(t, c.conn.PID(), h.PID(&Audience{Kind: Caller, Conn: c.conn}))
		assert.Equal(t, c.conn.PID(), h.PID(clientAudience("a")))
		assert.Same(t, h.PID(groupAudience("g")), h.PID(groupAudience("g")), "made once")
		different := map[string]bool{}
		for _, to := range []*Audience{
			{}, clientAudience("a"), clientAudience("nobody"), groupAudience("g"), groupAudience("G"), groupAudience(""), groupAudience("a/b"), groupAudience("a%2Fb"),
			groupAudience("inbox"), groupAudience("\xff\x00 é"), userAudience("g"), userAudience("ann"), userAudience(""),
		} {
			pid := h.PID(to)
			require.NotNil(t, pid, to)
			assert.False(t, different[pid.Id], pid.Id)
			different[pid.Id] = true
			assert.Equal(t, h.Inbox().Address, pid.Address)
			assert.Contains(t, pid.Id, e.sys.Root().Id+"/")
		}
		for _, to := range []*Audience{
			{Except: c.conn},
			{ExceptIDs: []string{"a"}},
			{Kind: Connections, Names: []string{"a", "b"}},
			{Kind: Groups, Names: []string{"g", "h"}},
			{Kind: Groups, Names: []string{"g"}, Except: c.conn},
			{Kind: Groups, Names: []string{"g"}, ExceptIDs: []string{"x"}},
			{Kind: Users, Names: []string{"ann", "bob"}},
		} {
			assert.Nil(t, h.PID(to), to)
		}
		other, err := e.sys.NewHub("other", e.handler, h.protocols, HubSettings{MaxNames: 100})
		require.NoError(t, err)
		assert.NotEqual(t, h.PID(groupAudience("g")).Id, other.PID(groupAudience("g")).Id)
		assert.NotEqual(t, c.conn.PID(), other.PID(clientAudience("a")), "a connection of another hub")
	})
}

func TestSendToPIDs(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i, user := range []string{"ann", "bob", "bob"} {
			e.open(string(rune('a'+i)), user)
		}
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		require.NoError(t, e.hub.Join(context.Background(), "b", "g"))
		sender := e.newRecorder("sender")
		all := &troupev1.Send_All{}
		for i, test := range []struct {
			to   *Audience
			send *troupev1.Send
			want string
			err  error
		}{
			{&Audience{}, &troupev1.Send{To: all, Except: []string{"a"}}, "bc", nil},
			{groupAudience("g"), &troupev1.Send{}, "ab", nil},
			{groupAudience("g"), &troupev1.Send{Except: []string{"b", "c", "x"}}, "a", nil},
			{groupAudience("none"), &troupev1.Send{}, "", nil},
			{userAudience("bob"), &troupev1.Send{}, "bc", nil},
			{userAudience("bob"), &troupev1.Send{Except: []string{"c"}}, "b", nil},
			{clientAudience("c"), &troupev1.Send{}, "c", nil},
			{clientAudience("c"), &troupev1.Send{Except: []string{"a"}}, "c", nil},
			{clientAudience("c"), &troupev1.Send{Except: []string{"a", "c"}}, "", nil},
			{&Audience{}, &troupev1.Send{}, "", errNoReceiver},
			{groupAudience("g"), &troupev1.Send{To: all}, "", errNoReceiver},
			{groupAudience("g"), &troupev1.Send{To: &troupev1.Send_Groups{Groups: names("g")}}, "", errNoReceiver},
			{userAudience("bob"), &troupev1.Send{To: &troupev1.Send_Users{Users: names("bob")}}, "", errNoReceiver},
			{clientAudience("c"), &troupev1.Send{To: &troupev1.Send_Connections{Connections: names("c")}}, "", errNoReceiver},
			{groupAudience("g"), &troupev1.Send{Arguments: []byte("{}")}, "", errSend},
		} {
			target, wantError := fmt.Sprint("t", i), ""
			if test.err != nil {
				wantError = test.err.Error()
			}
			test.send.Target = target
			for _, ask := range []bool{true, false} {
				if ask {
					assert.Equal(t, wantError, sender.askResult(e, e.hub.PID(test.to), test.send), "%v to %v", test.send, test.to)
				} else {
					e.tell(e.hub.PID(test.to), test.send)
					e.settle()
				}
				got := ""
				for _, c := range e.clients {
					for _, record := range c.messages() {
						if record == invocationRecord(target) {
							got += c.conn.id
						}
					}
				}
				want := test.want
				if !ask {
					want = ""
					for _, id := range test.want {
						want += string(id) + string(id) // once more
					}
				}
				assert.Equal(t, want, got, "%v to %v", test.send, test.to)
			}
		}
		assert.Equal(t, errSend.Error(), sender.askResult(e, e.hub.PID(groupAudience("g")), &troupev1.Send{}), "no target")
		assert.Zero(t, e.deadLetterCount())
		assert.Empty(t, e.log.errors)
	})
}

func TestListMembersOfPIDs(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i, user := range []string{"ann", "bob", "bob", ""} {
			e.open(string(rune('d'-i)), user)
		}
		require.NoError(t, e.hub.Join(context.Background(), "d", "g"))
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		sender := e.newRecorder("sender")
		for want, to := range map[string]*Audience{
			"a: b:bob c:bob d:ann ": {},
			"a: d:ann ":             groupAudience("g"),
			"b:bob c:bob ":          userAudience("bob"),
			"":                      groupAudience("none"),
		} {
			answer := sender.ask(e, e.hub.PID(to), &troupev1.ListMembers{})
			require.IsType(t, &troupev1.Members{}, answer)
			got := ""
			for _, m := range answer.(*troupev1.Members).GetMembers() {
				got += m.GetConnectionId() + ":" + m.GetUserId() + " "
			}
			assert.Equal(t, want, got)
		}
		e.tell(e.hub.PID(groupAudience("g")), &troupev1.ListMembers{}) // without a sender it does nothing
		e.settle()
		assert.Zero(t, e.deadLetterCount())
	})
}

func TestJoinAndLeaveByPID(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("a", "ann")
		e.open("b", "bob")
		sender, pid := e.newRecorder("sender"), e.hub.PID(groupAudience("g"))
		for range 2 {
			assert.Empty(t, sender.askResult(e, pid, &troupev1.Join{ConnectionId: "a"}))
			assert.Empty(t, sender.askResult(e, pid, &troupev1.Join{ConnectionId: "nobody"}))
			e.tell(pid, &troupev1.Join{ConnectionId: "b"})
			e.settle()
			require.Len(t, e.hub.membersHere(groupAudience("g")), 2)
		}
		groups, err := e.hub.GroupsOf(context.Background(), clientAudience("a"))
		require.NoError(t, err)
		assert.Equal(t, []string{"g"}, groups)
		for range 2 {
			assert.Empty(t, sender.askResult(e, pid, &troupev1.Leave{ConnectionId: "a"}))
			assert.Empty(t, sender.askResult(e, pid, &troupev1.Leave{ConnectionId: "nobody"}))
			e.tell(pid, &troupev1.Leave{ConnectionId: "b"})
			e.settle()
			require.Empty(t, e.hub.membersHere(groupAudience("g")))
		}
		for _, to := range []*Audience{{}, userAudience("ann"), clientAudience("a")} {
			for _, m := range []proto.Message{&troupev1.Join{ConnectionId: "a"}, &troupev1.Leave{ConnectionId: "a"}} {
				assert.Equal(t, "hubsys: only the PID of a group takes Join and Leave", sender.askResult(e, e.hub.PID(to), m), "%T to %v", m, to)
				e.tell(e.hub.PID(to), m)
			}
		}
		e.settle()
		assert.Empty(t, e.hub.groups.list())
		e.clients[0].messages() // the connection goes on
		assert.Len(t, e.hub.membersHere(&Audience{}), 2)
		assert.Empty(t, e.log.errors)
	})
}

func TestDisconnectByPID(t *testing.T) {
	for _, test := range []struct {
		m    *troupev1.Disconnect
		want string
	}{
		{&troupev1.Disconnect{Reason: "enough"}, `{"type":7,"error":"enough"}`},
		{&troupev1.Disconnect{}, `{"type":7}`},
		{&troupev1.Disconnect{AllowReconnect: true}, `{"type":7,"allowReconnect":true}`},
		{&troupev1.Disconnect{AllowReconnect: true, Reason: "ignored"}, `{"type":7,"allowReconnect":true}`},
	} {
		inBubble(t, func(t *testing.T, e *env) {
			sender := e.newRecorder("sender")
			for _, to := range []*Audience{clientAudience("a"), groupAudience("g"), userAudience("ann"), {}} {
				a, b := e.open("a", "ann"), e.open("b", "")
				require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
				e.send(&Audience{}, "before")
				require.Empty(t, sender.askResult(e, e.hub.PID(to), test.m), to)
				want := []string{invocationRecord("before"), test.want, "close 1000"}
				assert.Equal(t, want, a.messages(), to)
				a.assertRemoved(t)
				if to.Kind == All {
					assert.Equal(t, want, b.messages())
				} else {
					assert.Equal(t, want[:1], b.messages(), to)
				}
				b.socket.Cut()
				e.settle()
			}
		})
	}
}

// What a PID does not take is answered with an error, or, without a sender, is a dead letter.
func TestPIDsRefuseOtherMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("a", "ann")
		sender := e.newRecorder("sender")
		for i, to := range []*Audience{clientAudience("a"), groupAudience("g"), userAudience("ann"), {}} {
			pid := e.hub.PID(to)
			for _, m := range []any{"text", 1, struct{}{}, &troupev1.SendResult{}, &troupev1.Members{}} {
				assert.Equal(t, fmt.Sprintf("hubsys: this PID takes messages of troupe.v1, not a %T", m), sender.askResult(e, pid, m), to)
			}
			e.tell(pid, "no sender")
			e.settle()
			require.Equal(t, i+1, e.deadLetterCount(), to)
			last := e.deadLetterEvents[i]
			assert.Equal(t, "no sender", last.Message)
			assert.Equal(t, pid.Id, last.PID.GetId())
			process, ok := e.sys.actorSystem.ProcessRegistry.Get(pid)
			require.True(t, ok)
			if to.Kind == Groups || to.Kind == Users {
				process.Stop(pid)
			}
		}
		assert.Len(t, e.hub.membersHere(&Audience{}), 1, "the connection goes on")
		assert.Empty(t, sender.askResult(e, e.hub.PID(groupAudience("g")), &troupev1.Send{Target: "x"}), "nobody can stop a group")
	})
}

func TestWatchedPIDIsTerminatedWhenTheLastMemberLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx, group, user := context.Background(), e.hub.PID(groupAudience("g")), e.hub.PID(userAudience("ann"))
		a, b := e.open("a", "ann"), e.open("b", "ann")
		join := func(ids ...string) {
			for _, id := range ids {
				require.NoError(t, e.hub.Join(ctx, id, "g"))
			}
		}
		watcher, second := e.newRecorder("watcher"), e.newRecorder("second")
		watcher.watch(e, group)
		require.Equal(t, []string{group.Id}, watcher.terminated(), "at once if it is empty")
		join("a", "b")
		require.Len(t, watcher.terminated(), 1, "Terminated ends a watch")
		watcher.watch(e, group)
		watcher.watch(e, group)
		second.watch(e, group)
		watcher.watch(e, user)
		require.NoError(t, e.hub.Leave(ctx, "a", "g"))
		require.Len(t, watcher.terminated(), 1)
		require.NoError(t, e.hub.Leave(ctx, "b", "g"))
		e.settle()
		require.Equal(t, []string{group.Id, group.Id}, watcher.terminated(), "once, however often it was watched")
		require.Equal(t, []string{group.Id}, second.terminated())
		join("a")
		watcher.watch(e, group) // again after it has been filled
		second.watch(e, group)
		e.tellSystem(group, &actor.Unwatch{Watcher: second.pid})
		a.socket.Cut()
		e.settle()
		require.Equal(t, []string{group.Id, group.Id, group.Id}, watcher.terminated())
		require.Len(t, second.terminated(), 1, "it has stopped watching")
		b.socket.Cut()
		e.settle()
		require.Equal(t, user.Id, watcher.terminated()[3])
		require.Len(t, watcher.terminated(), 4)
	})
}

func TestWatchedUserIsTerminatedWhenAnotherUserTakesOver(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c, watcher := e.open("a", "ann"), e.newRecorder("watcher")
		watcher.watch(e, e.hub.PID(userAudience("ann")))
		require.NoError(t, c.conn.Refresh(context.Background(), &Identity{UserID: "ann"}))
		e.settle()
		require.Empty(t, watcher.terminated())
		require.NoError(t, c.conn.Refresh(context.Background(), &Identity{UserID: "bob"}))
		e.settle()
		require.Equal(t, []string{e.hub.PID(userAudience("ann")).Id}, watcher.terminated())
	})
}

func TestWatchedConnectionIsTerminatedWhenItEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		watcher := e.newRecorder("watcher")
		watcher.watch(e, e.hub.PID(clientAudience("nobody")))
		require.Equal(t, []string{e.hub.PID(clientAudience("nobody")).Id}, watcher.terminated())
		c := e.open("a", "")
		pid := e.hub.PID(clientAudience("a"))
		watcher.watch(e, pid)
		require.Len(t, watcher.terminated(), 1)
		c.socket.Cut()
		e.settle()
		require.Equal(t, pid.Id, watcher.terminated()[1])
		for _, gone := range []*actor.PID{pid, e.hub.PID(&Audience{Kind: Caller, Conn: c.conn}), e.hub.PID(clientAudience("a"))} {
			before := len(watcher.terminated())
			watcher.watch(e, gone)
			require.Len(t, watcher.terminated(), before+1, "at once")
		}
	})
}

// An actor can watch a group again and again.
func TestActorWatchesAGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("a", "")
		pid, terminated := e.hub.PID(groupAudience("g")), make(chan *actor.PID, 10)
		watcher := e.sys.actorSystem.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case string:
				ctx.Watch(pid)
			case *actor.Terminated:
				terminated <- m.GetWho()
			}
		}))
		defer e.sys.actorSystem.Root.Stop(watcher)
		for range 3 {
			require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
			e.tell(watcher, "watch")
			e.settle()
			require.Empty(t, terminated)
			require.NoError(t, e.hub.Leave(context.Background(), "a", "g"))
			require.Equal(t, pid.Id, (<-terminated).Id)
		}
	})
}

// Each Watch of a group that is emptied and filled all the time is answered once.
func TestWatchOfAPIDRacesWithItsEmptying(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		pid := e.hub.PID(groupAudience("g"))
		var all sync.WaitGroup
		for i := range 3 {
			id := e.open(fmt.Sprint(i), "").conn.id
			all.Go(func() {
				for range 200 {
					assert.NoError(t, e.hub.Join(context.Background(), id, "g"))
					assert.NoError(t, e.hub.Leave(context.Background(), id, "g"))
				}
			})
		}
		var watchers []*actorRecorder
		for i := range 200 {
			r := e.newRecorder(fmt.Sprint("watcher", i))
			e.tellSystem(pid, &actor.Watch{Watcher: r.pid})
			watchers = append(watchers, r)
		}
		all.Wait()
		e.settle()
		for _, r := range watchers {
			require.Equal(t, []string{pid.Id}, r.terminated())
		}
	})
}

func TestAddressesCostARegistrationOnlyWhenTheyAreAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		system := e.sys.actorSystem
		ctx, c := context.Background(), e.open("a", "ann")
		before := len(processNames(system, ""))
		for i := range 10_000 {
			require.NoError(t, e.hub.Join(ctx, "a", fmt.Sprint("g", i)))
		}
		for i := range 10_000 {
			require.NoError(t, e.hub.Leave(ctx, "a", fmt.Sprint("g", i)))
		}
		require.Len(t, processNames(system, ""), before)
		for range 3 {
			e.hub.PID(groupAudience("g1"))
			e.hub.PID(userAudience("ann"))
			e.hub.PID(clientAudience("a"))
			e.hub.PID(clientAudience("nobody"))
			e.hub.PID(&Audience{})
		}
		require.Len(t, processNames(system, ""), before+2)
		c.socket.Cut()
	})
}

// Concurrent callers get one PID.
func TestAddressIsMadeOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i := range 50 {
			pids := make(chan *actor.PID, 4)
			for range cap(pids) {
				go func() { pids <- e.hub.PID(groupAudience(fmt.Sprint("g", i))) }()
			}
			first := <-pids
			for range cap(pids) - 1 {
				require.Same(t, first, <-pids)
			}
		}
	})
}

func TestShutdownTerminatesAndRemovesAddresses(t *testing.T) {
	inBubble(t, func(t *testing.T, own *env) {
		system, watcher := own.sys.actorSystem, own.newRecorder("watcher")
		before := len(processNames(system, ""))
		e := newEnv(t, system, second, hubproto.JSON)
		e.bubble = true
		e.open("a", "ann")
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		pids := []*actor.PID{e.hub.PID(groupAudience("g")), e.hub.PID(userAudience("ann")), e.hub.PID(clientAudience("a")), e.hub.PID(&Audience{})}
		for _, pid := range pids {
			watcher.watch(e, pid)
		}
		e.hub.PID(groupAudience("empty"))
		require.NoError(t, e.shutdown())
		e.settle()
		require.Len(t, watcher.terminated(), len(pids))
		require.Len(t, processNames(system, ""), before)
		for _, pid := range pids {
			watcher.watch(e, pid)
		}
		require.Len(t, watcher.terminated(), 2*len(pids), "at once")
	})
}
