package actors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/internal/logs"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// handleForeign handles a message that somebody has sent to the address of an audience. It does not wait. What the address does not take is a dead
// letter.
func (h *Hub) handleForeign(to *Audience, address *actor.PID, m any, sender *actor.PID) {
	respond := func(result proto.Message) {
		if sender != nil {
			h.sys.actorSystem.Root.Send(sender, result)
		}
	}
	finish := func(err error) {
		result := &troupev1.SendResult{}
		if err != nil {
			result.Error = err.Error()
			if sender == nil {
				const what = "a message to a PID was refused"
				h.sys.closings.Log(context.Background(), h.sys.log, slog.LevelWarn, what+h.name, what,
					"hub", h.name, "audience", logs.Clip(to.String()), "error", logs.Error(err))
			}
		}
		respond(result)
	}
	isGroup := to.Kind == Groups
	switch m := m.(type) {
	case *troupev1.Send:
		finish(h.sendProto(to, m))
	case *troupev1.ListMembers:
		h.listForeign(to, respond)
	case *troupev1.Disconnect:
		if m.GetAllowReconnect() {
			h.Reconnect(to)
		} else {
			h.Disconnect(to, m.GetReason())
		}
		finish(nil)
	case *troupev1.Join:
		h.changeForeign(to, m.GetConnectionId(), false, isGroup, finish)
	case *troupev1.Leave:
		h.changeForeign(to, m.GetConnectionId(), true, isGroup, finish)
	default:
		finish(fmt.Errorf("hubsys: this PID takes messages of troupe.v1, not a %T", m))
		if sender == nil {
			h.sys.actorSystem.DeadLetter.SendUserMessage(address, m)
		}
	}
}

// listForeign answers with the connections of an audience.
func (h *Hub) listForeign(of *Audience, respond func(proto.Message)) {
	list := func(ctx context.Context) {
		members, _, _ := h.Members(ctx, of)
		answer := &troupev1.Members{}
		for _, m := range members {
			user := strings.ToValidUTF8(m.UserID, "\ufffd") // as it has to be in troupe.v1
			answer.Members = append(answer.Members, &troupev1.Member{ConnectionId: m.ID(), UserId: user})
		}
		respond(answer)
	}
	if n := h.sys.nodes; n != nil {
		n.begin(func() { list(n.ctx) })
	} else {
		list(context.Background())
	}
}

// changeForeign adds a connection to a group, or removes it, and calls finish when that is done.
func (h *Hub) changeForeign(to *Audience, id string, leave, isGroup bool, finish func(error)) {
	if !isGroup {
		finish(errors.New("hubsys: only the PID of a group takes Join and Leave"))
		return
	}
	of := &Audience{Kind: Connections, Names: []string{id}}
	n := h.sys.nodes
	if n == nil || h.Connection(id) != nil {
		h.change(h.resolve(of), to.Names[0], leave, finish) // connections that do not exist any more are no error
		return
	}
	q, err := n.question(h.name, h.topic(Connections, id), changeRequest(of, to.Names[0], leave)) // here, so that what follows cannot overtake it
	if err != nil {
		finish(err)
		return
	}
	if !n.begin(func() {
		missing, err := q.waitForChange(n.ctx)
		if err == nil && len(missing) > 0 {
			err = &MissingError{missing}
		}
		finish(err)
	}) {
		q.end()
		finish(ErrShutdown)
	}
}

var (
	errSend       = errors.New("hubsys: a Send needs a target, and arguments that are a JSON array or empty")
	errNoReceiver = errors.New("hubsys: a Send to the PID of a hub needs receivers, one to another PID has none")
)

// sendProto sends to an audience; the message to the address of a hub says to whom.
func (h *Hub) sendProto(address *Audience, m *troupev1.Send) error {
	to := *address
	to.ExceptIDs, to.NoWait = slices.Concat(to.ExceptIDs, m.GetExcept()), true
	if (address.Kind == All) != (m.GetTo() != nil) {
		return errNoReceiver
	}
	switch names := m.GetTo().(type) {
	case *troupev1.Send_Connections:
		to.Kind, to.Names = Connections, names.Connections.GetNames()
	case *troupev1.Send_Groups:
		to.Kind, to.Names = Groups, names.Groups.GetNames()
	case *troupev1.Send_Users:
		to.Kind, to.Names = Users, names.Users.GetNames()
	}
	var raw []json.RawMessage
	if text := bytes.TrimSpace(m.GetArguments()); len(text) > 0 && (text[0] != '[' || !utf8.Valid(text) || json.Unmarshal(text, &raw) != nil) || m.GetTarget() == "" {
		return errSend
	}
	args := make([]any, len(raw))
	for i, value := range raw {
		args[i] = value
	}
	if err := h.Check(context.Background(), &to); err != nil {
		return err
	}
	return h.send(context.Background(), &to, &message{hub: h, target: m.GetTarget(), args: args})
}

// onForeign handles a message that somebody has sent to the connection.
func (c *Connection) onForeign(ctx actor.Context) {
	c.hub.handleForeign(&Audience{Kind: Caller, Conn: c}, ctx.Self(), ctx.Message(), ctx.Sender())
}
