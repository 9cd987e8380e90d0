package actors

import (
	"context"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/metric"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// sendToInbox sends a message to the inbox of the hub, and returns the error text of the answer.
func (r *actorRecorder) sendToInbox(e *env, m proto.Message) string {
	before := len(r.messages())
	e.sys.actorSystem.Root.RequestWithCustomSender(e.hub.Inbox(), m, r.pid)
	e.settle()
	answers := r.messages()[before:]
	require.Len(e.t, answers, 1)
	require.IsType(e.t, &troupev1.SendResult{}, answers[0])
	return answers[0].(*troupev1.SendResult).GetError()
}

func names(names ...string) *troupev1.Names { return &troupev1.Names{Names: names} }

func TestInboxSendsToAudiences(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		assert.True(t, strings.HasSuffix(e.hub.Inbox().Id, "/hubs/chat/inbox"))
		a, b, c := e.open("a", "ann"), e.open("b", "bob"), e.open("c", "bob")
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		require.NoError(t, e.hub.Join(context.Background(), "b", "g"))
		sender := e.newRecorder("sender")
		tests := []struct {
			send *troupev1.Send
			want string
		}{
			{&troupev1.Send{To: &troupev1.Send_All{All: &troupev1.All{}}, Target: "0"}, "abc"},
			{&troupev1.Send{To: &troupev1.Send_All{}, Target: "1", Except: []string{"b", "x"}}, "ac"},
			{&troupev1.Send{To: &troupev1.Send_Connections{Connections: names("a", "c", "x")}, Target: "2"}, "ac"},
			{&troupev1.Send{To: &troupev1.Send_Groups{Groups: names("g", "h")}, Target: "3"}, "ab"},
			{&troupev1.Send{To: &troupev1.Send_Users{Users: names("bob")}, Target: "4"}, "bc"},
			{&troupev1.Send{To: &troupev1.Send_Users{Users: names("bob", "ann")}, Target: "5", Except: []string{"c"}}, "ab"},
			{&troupev1.Send{To: &troupev1.Send_Groups{}, Target: "6"}, ""},
		}
		for _, test := range tests {
			assert.Empty(t, sender.sendToInbox(e, test.send))
			got := ""
			for _, one := range []*client{a, b, c} {
				for _, record := range one.messages() {
					if record == invocationRecord(test.send.GetTarget()) {
						got += one.conn.id
					}
				}
			}
			assert.Equal(t, test.want, got, "%v", test.send)
		}
	})
}

func TestInboxArguments(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		sender := e.newRecorder("sender")
		for _, arguments := range []string{"", "[]", ` [ 1 , "x" , {"a" : [true,null]} ] `, `["ü€😀"]`} {
			assert.Empty(t, sender.sendToInbox(e, &troupev1.Send{To: &troupev1.Send_All{}, Target: "t", Arguments: []byte(arguments)}))
		}
		assert.Equal(t, []string{
			invocationRecord("t"), invocationRecord("t"),
			`{"type":1,"target":"t","arguments":[1,"x",{"a":[true,null]}]}`,
			`{"type":1,"target":"t","arguments":["ü€😀"]}`,
		}, c.messages())
	})
}

func TestInboxRefusesInvalidMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		sender := e.newRecorder("sender")
		all := &troupev1.Send_All{}
		bad := []*troupev1.Send{
			{},
			{Target: "x"},
			{To: all},
			{To: all, Target: "x", Arguments: []byte("{}")},
			{To: all, Target: "x", Arguments: []byte("1")},
			{To: all, Target: "x", Arguments: []byte("[1")},
			{To: all, Target: "x", Arguments: []byte("[1] 2")},
			{To: all, Target: "x", Arguments: []byte("null")},
			{To: all, Target: "x", Arguments: []byte("[\"\xff\"]")}, // invalid UTF-8, for which clients would close the connection
			{To: all, Target: "x", Arguments: []byte(strings.Repeat("[", 100_000))},
		}
		for _, m := range bad {
			want := errSend
			if m.GetTo() == nil {
				want = errNoReceiver
			}
			assert.Equal(t, want.Error(), sender.sendToInbox(e, m), "%.100q", m.GetArguments())
			e.tell(e.hub.Inbox(), m) // without a sender
		}
		e.tell(e.hub.Inbox(), "x")
		e.tell(e.hub.Inbox(), (*troupev1.Send)(nil))
		e.settle()
		assert.Empty(t, c.messages())
		assert.Empty(t, sender.sendToInbox(e, &troupev1.Send{To: all, Target: "x"}), "the inbox continues")
		assert.Empty(t, e.log.errors)
	})
}

// The inbox does not wait for outbox space. A client that is too slow is disconnected.
func TestInboxDoesNotWaitForSlowClients(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		slow, other := e.open("slow", "", linktest.Full), e.open("b", "")
		sender := e.newRecorder("sender")
		for range 3 {
			m := &troupev1.Send{To: &troupev1.Send_All{}, Target: "x", Arguments: []byte(`["` + strings.Repeat("x", 30<<10) + `"]`)}
			assert.Empty(t, sender.sendToInbox(e, m))
		}
		assert.True(t, slow.socket.IsCut())
		assert.Len(t, other.messages(), 3)
		slow.assertRemoved(t)
	})
}

// A full inbox refuses messages: with an answer if they have a sender, otherwise as dead letters.
func TestFullInboxRefusesMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		process, _ := e.sys.actorSystem.ProcessRegistry.Get(e.hub.Inbox())
		e.tellSystem(e.hub.Inbox(), &actor.SuspendMailbox{})
		e.settle()
		asker := e.newRecorder("asker")
		for range maxInboxed + 10 {
			process.SendUserMessage(e.hub.Inbox(), &actor.MessageEnvelope{
				Message: &troupev1.Send{To: &troupev1.Send_All{}, Target: "x"}, Sender: asker.pid,
			})
		}
		process.SendUserMessage(e.hub.Inbox(), &troupev1.Send{To: &troupev1.Send_All{}, Target: "x"})
		e.settle()
		refused := asker.messages()
		require.Len(t, refused, 10)
		assert.Contains(t, refused[0].(*troupev1.SendResult).Error, "is full: 1024 messages wait in it")
		assert.Equal(t, 1, e.deadLetterCount())
		assert.EqualValues(t, 11, e.sys.counts.limits[metric.HubInbox].Load())
		e.tellSystem(e.hub.Inbox(), &actor.ResumeMailbox{})
		e.settle()
		assert.Len(t, asker.messages(), maxInboxed+10)
	})
}
