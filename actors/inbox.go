package actors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/asynkron/protoactor-go/actor"

	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// maxInboxed is how many messages wait in a hub's inbox at most; the next one is refused.
const maxInboxed = 1024

// inbox is the mailbox of a hub's inbox.
type inbox struct {
	actor.Mailbox
	hub *Hub
}

func (h *Hub) newInbox() actor.Mailbox { return &inbox{actor.Unbounded()(), h} }

// PostUserMessage refuses messages beyond maxInboxed, with an answer if there is a sender.
func (i *inbox) PostUserMessage(message any) {
	if i.UserMessageCount() < maxInboxed {
		i.Mailbox.PostUserMessage(message)
		return
	}
	actors := i.hub.sys.actorSystem
	if _, _, sender := actor.UnwrapEnvelope(message); sender != nil {
		actors.Root.Send(sender, &troupev1.SendResult{Error: fmt.Sprintf("hubsys: the inbox of hub %q is full: %d messages wait in it", i.hub.name, maxInboxed)})
	} else {
		actors.DeadLetter.SendUserMessage(i.hub.inbox, message)
	}
}

// receive is the behaviour of the inbox, which is a stable address for actors that do not know the Go types of a hub. It has no state and does not
// wait: at the limit of an outbox, the receiver is disconnected.
func (h *Hub) receive(ctx actor.Context) {
	var err error
	switch m := ctx.Message().(type) {
	case actor.SystemMessage, actor.AutoReceiveMessage:
		return
	case *troupev1.Send:
		err = h.sendProto(m)
	default:
		err = fmt.Errorf("hubsys: a hub takes a *troupev1.Send, not a %T", m)
	}
	if ctx.Sender() != nil {
		result := &troupev1.SendResult{}
		if err != nil {
			result.Error = err.Error()
		}
		ctx.Respond(result)
	} else if err != nil {
		h.sys.log.Warn("a message to a hub's inbox was refused", "hub", h.name, "error", err)
	}
}

var errInbox = errors.New("hubsys: a Send needs a receiver, a target, and arguments that are a JSON array or empty")

func (h *Hub) sendProto(m *troupev1.Send) error {
	to := &Audience{ExceptIDs: m.GetExcept(), NoWait: true}
	switch names := m.GetTo().(type) {
	case *troupev1.Send_All:
	case *troupev1.Send_Connections:
		to.Kind, to.Names = Connections, names.Connections.GetNames()
	case *troupev1.Send_Groups:
		to.Kind, to.Names = Groups, names.Groups.GetNames()
	case *troupev1.Send_Users:
		to.Kind, to.Names = Users, names.Users.GetNames()
	default:
		return errInbox
	}
	var raw []json.RawMessage
	if text := bytes.TrimSpace(m.GetArguments()); len(text) > 0 && (text[0] != '[' || !utf8.Valid(text) || json.Unmarshal(text, &raw) != nil) || m.GetTarget() == "" {
		return errInbox
	}
	args := make([]any, len(raw))
	for i, value := range raw {
		args[i] = value
	}
	return h.send(context.Background(), to, &message{hub: h, target: m.GetTarget(), args: args})
}
