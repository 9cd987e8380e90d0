package actors

import (
	"context"
	"github.com/asynkron/protoactor-go/actor"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/internal/linktest"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// post sends a message to the hub's inbox, and returns the text of the answer.
func (p *probe) post(w *world, m proto.Message) string {
	before := len(p.messages())
	w.sys.actors.Root.RequestWithCustomSender(w.hub.Inbox(), m, p.pid)
	w.settle()
	answers := p.messages()[before:]
	require.Len(w.t, answers, 1)
	require.IsType(w.t, &troupev1.SendResult{}, answers[0])
	return answers[0].(*troupev1.SendResult).GetError()
}

func names(names ...string) *troupev1.Names { return &troupev1.Names{Names: names} }

func TestInbox(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		assert.True(t, strings.HasSuffix(w.hub.Inbox().Id, "/hubs/chat/inbox"))
		a, b, c := w.open("a", "ann"), w.open("b", "bob"), w.open("c", "bob")
		require.NoError(t, w.hub.Join(context.Background(), "a", "g"))
		require.NoError(t, w.hub.Join(context.Background(), "b", "g"))
		sender := w.probe("sender")
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
			assert.Empty(t, sender.post(w, test.send))
			got := ""
			for _, one := range []*client{a, b, c} {
				for _, record := range one.got() {
					if record == told(test.send.GetTarget()) {
						got += one.conn.id
					}
				}
			}
			assert.Equal(t, test.want, got, "%v", test.send)
		}
	})
}

func TestArgumentsInAnInbox(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		sender := w.probe("sender")
		for _, arguments := range []string{"", "[]", ` [ 1 , "x" , {"a" : [true,null]} ] `, `["ü€😀"]`} {
			assert.Empty(t, sender.post(w, &troupev1.Send{To: &troupev1.Send_All{}, Target: "t", Arguments: []byte(arguments)}))
		}
		assert.Equal(t, []string{told("t"), told("t"), `{"type":1,"target":"t","arguments":[1,"x",{"a":[true,null]}]}`, `{"type":1,"target":"t","arguments":["ü€😀"]}`}, c.got())
	})
}

func TestBadMessagesInAnInbox(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		sender := w.probe("sender")
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
			{To: all, Target: "x", Arguments: []byte("[\"\xff\"]")}, // no UTF-8: clients would hang up
			{To: all, Target: "x", Arguments: []byte(strings.Repeat("[", 100_000))},
		}
		for _, m := range bad {
			assert.Equal(t, errInbox.Error(), sender.post(w, m), "%.100q", m.GetArguments())
			w.tell(w.hub.Inbox(), m) // nobody to answer
		}
		w.tell(w.hub.Inbox(), "x")
		w.tell(w.hub.Inbox(), (*troupev1.Send)(nil))
		w.settle()
		assert.Empty(t, c.got())
		assert.Empty(t, sender.post(w, &troupev1.Send{To: all, Target: "x"}), "it goes on")
		assert.Empty(t, w.log.errors)
	})
}

// An inbox does not wait for room: who is too slow is disconnected.
func TestTheInboxDoesNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		slow, other := w.open("slow", "", linktest.Full), w.open("b", "")
		sender := w.probe("sender")
		for range 3 {
			m := &troupev1.Send{To: &troupev1.Send_All{}, Target: "x", Arguments: []byte(`["` + strings.Repeat("x", 30<<10) + `"]`)}
			assert.Empty(t, sender.post(w, m))
		}
		assert.True(t, slow.socket.IsCut())
		assert.Len(t, other.got(), 3)
		slow.gone(t)
	})
}

// What does not fit into the inbox is refused: with an answer for who has given an address, else as a dead letter.
func TestAFullInbox(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		process, _ := w.sys.actors.ProcessRegistry.Get(w.hub.Inbox())
		w.tellSystem(w.hub.Inbox(), &actor.SuspendMailbox{})
		w.settle()
		asker := w.probe("asker")
		for range maxInboxed + 10 {
			process.SendUserMessage(w.hub.Inbox(), &actor.MessageEnvelope{Message: &troupev1.Send{To: &troupev1.Send_All{}, Target: "x"}, Sender: asker.pid})
		}
		process.SendUserMessage(w.hub.Inbox(), &troupev1.Send{To: &troupev1.Send_All{}, Target: "x"})
		w.settle()
		refused := asker.messages()
		require.Len(t, refused, 10)
		assert.Contains(t, refused[0].(*troupev1.SendResult).Error, "is full: 1024 messages wait in it")
		assert.Equal(t, 1, w.lost())
		w.tellSystem(w.hub.Inbox(), &actor.ResumeMailbox{})
		w.settle()
		assert.Len(t, asker.messages(), maxInboxed+10)
	})
}
