package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/internal/metric"
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
	i.hub.sys.counts.limits.Reach(metric.HubInbox)
	actors := i.hub.sys.actorSystem
	if _, _, sender := actor.UnwrapEnvelope(message); sender != nil {
		actors.Root.Send(sender, &troupev1.SendResult{Error: fmt.Sprintf("hubsys: the inbox of hub %q is full: %d messages wait in it", i.hub.name, maxInboxed)})
	} else {
		actors.DeadLetter.SendUserMessage(i.hub.inbox, message)
	}
}

// receive is the behaviour of the inbox, which is the address of the hub. It has no state and does not wait: at the limit of an outbox, the
// receiver is disconnected.
func (h *Hub) receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		h.handleForeign(&Audience{}, h.inbox, ctx.Message(), ctx.Sender())
	}
}
