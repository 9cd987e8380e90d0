package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/proto/hubproto"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

func isA[T any](m any) bool { _, ok := m.(T); return ok }

// on injects a panic at a message of the connection.
func on(message func(any) bool) *injection { return &injection{message: message} }

// batchWith matches a batch whose first message is of a type.
func batchWith(kind hubproto.Type) func(any) bool {
	return func(m any) bool {
		b, ok := m.(*batch)
		return ok && len(b.messages) > 0 && b.messages[0].Type == kind
	}
}

func lifetimeOf(e event) func(any) bool {
	return func(m any) bool { l, ok := m.(*lifetimeEnded); return ok && l.event == e }
}

// messagePanics are the messages of all actors.
func messagePanics() map[string]*panicCase {
	isHandshake := func(m any) bool { b, ok := m.(*batch); return ok && b.handshake != nil }
	isBroken := func(m any) bool { b, ok := m.(*batch); return ok && b.err != nil }
	isSpawn := func(m any) bool { s, ok := m.(*spawnConnection); return ok && s.conn.id == "a" }
	cases := map[string]*panicCase{
		"handshake":                       {injection: on(isHandshake)},
		"calls":                           {injection: on(batchWith(hubproto.Invocation))},
		"calls, resumable":                {injection: on(batchWith(hubproto.Invocation)), resumable: true},
		"item":                            {injection: on(batchWith(hubproto.StreamItem))},
		"completion":                      {injection: on(batchWith(hubproto.Completion))},
		"ping":                            {injection: on(batchWith(hubproto.Ping))},
		"close":                           {injection: on(batchWith(hubproto.Close)), end: "close"},
		"garbage":                         {injection: on(isBroken), end: "garbage"},
		"membershipChange":                {injection: on(isA[*membershipChange])},
		"membershipChange, leave":         {injection: on(func(m any) bool { c, ok := m.(*membershipChange); return ok && c.leave })},
		"groupsRequest":                   {injection: on(isA[*groupsRequest])},
		"refresh":                         {injection: on(isA[*refresh])},
		"readEnd":                         {injection: on(isA[*readEnd])},
		"leaveRequest":                    {injection: on(isA[*leaveRequest]), end: "leave"},
		"leaveRequest with error":         {injection: on(isA[*leaveRequest]), end: "leave with error"},
		"lifetimeEnded of OnConnected":    {injection: on(lifetimeOf(connected))},
		"lifetimeEnded of OnDisconnected": {injection: on(lifetimeOf(disconnected))},
		"closeRequest of Reconnect":       {injection: on(isA[*closeRequest]), end: "reconnect"},
		"closeRequest of Disconnect":      {injection: on(isA[*closeRequest]), end: "disconnect"},
		"closeRequest of an overflow":     {injection: on(isA[*closeRequest]), end: "overflow"},
		"closeRequest of the heartbeat":   {injection: on(isA[*closeRequest]), end: "silence"},
		"callsIdle":                       {injection: on(isA[*callsIdle])},
		"callsIdle, failing":              {injection: on(isA[*callsIdle]), end: "garbage"},
		"stopCalls":                       {injection: on(isA[*stopCalls]), end: "stop of calls"},
		"closingTick":                     {injection: on(isA[*closingTick])},
		"outputOver":                      {injection: on(isA[*outputOver]), unseen: true},
		"outputOver, polite":              {injection: on(isA[*outputOver]), end: "close", unseen: true},
		"resumed":                         {injection: on(isA[*resumed]), panics: true},
		"foreign":                         {injection: on(isA[*troupev1.Join])},
		"Started":                         {injection: on(isA[*actor.Started])},
		"Stopping":                        {injection: on(isA[*actor.Stopping])},
		"Stopping, stopped by somebody":   {injection: on(isA[*actor.Stopping]), end: "stop"},
		"Stopped":                         {injection: on(isA[*actor.Stopped])},
		"Stopped, stopped by somebody":    {injection: on(isA[*actor.Stopped]), end: "stop"},

		"supervisor/spawnConnection": {injection: &injection{actor: anyActor, message: isSpawn}},
		"root/spawnRequest":          {injection: &injection{actor: anyActor, message: isA[*spawnRequest]}},
		"heartbeat/tick":             {injection: &injection{actor: "/heartbeat", message: isA[*tick]}},
		"inbox/Send":                 {injection: &injection{actor: "/inbox", message: isA[*troupev1.Send]}},
	}
	for name, kind := range map[string]func(any) bool{
		"closeRequest": isA[*closeRequest], "lifetimeEnded": lifetimeOf(disconnected), "callsIdle": isA[*callsIdle], "readEnd": isA[*readEnd],
		"outputOver": isA[*outputOver], "Stopping": isA[*actor.Stopping], "Stopped": isA[*actor.Stopped],
	} {
		cases["Shutdown, "+name] = &panicCase{injection: on(kind), end: "shutdown", unseen: name == "outputOver"}
	}
	return cases
}

// at injects a panic at a point of a stage.
func at(point, stage string) *injection { return &injection{point: point, stage: stage} }

// pointPanics are the points where code of the application runs.
func pointPanics() map[string]*panicCase {
	cases := map[string]*panicCase{
		"OnConnected":                    {injection: at("Handler.Connected", ""), untold: true},
		"OnDisconnected":                 {injection: at("Handler.Disconnected", "end")},
		"OnDisconnected, stopped":        {injection: at("Handler.Disconnected", "end"), end: "stop"},
		"OnDisconnected, Shutdown":       {injection: at("Handler.Disconnected", "end"), end: "shutdown"},
		"Refreshed":                      {injection: at("Handler.Refreshed", "refresh")},
		"Invoke":                         {injection: at("Handler.Invoke", "call")},
		"Invoke, behind":                 {injection: at("Handler.Invoke behind", "call")},
		"Ended":                          {injection: at("Handler.Ended", "")},
		"Ended, stopped":                 {injection: at("Handler.Ended", ""), end: "stop"},
		"Ended, Shutdown":                {injection: at("Handler.Ended", ""), end: "shutdown"},
		"Describe, answer of another":    {injection: at("Handler.Describe", "end"), end: "answer of another"},
		"Describe, garbage":              {injection: at("Handler.Describe", "end"), end: "garbage"},
		"Describe, leave with error":     {injection: at("Handler.Describe", "end"), end: "leave with error"},
		"Describe, heartbeat":            {injection: at("Handler.Describe", "end"), end: "silence"},
		"Describe, handshake":            {injection: at("Handler.Describe", "open"), handshake: "[]\x1e"},
		"Describe, resumed":              {injection: at("Handler.Describe", "panic"), panics: true, resumable: true},
		"Protocol.Next":                  {injection: at("Protocol.Next", "call")},
		"Protocol.Parse":                 {injection: at("Protocol.Parse", "call")},
		"Protocol.Parse of an answer":    {injection: at("Protocol.Parse", "answer")},
		"Protocol.Binary":                {injection: at("Protocol.Binary", "open")},
		"Protocol.AppendResult":          {injection: at("Protocol.AppendResult", "call")},
		"Protocol.AppendInvocation":      {injection: at("Protocol.AppendInvocation", "broadcast"), unsent: true},
		"Protocol.AppendInvocation, ask": {injection: at("Protocol.AppendInvocation", "question")},
		"Protocol.Append, close":         {injection: at("Protocol.Append", "end"), end: "reconnect"},
		"Protocol.Append, disconnect":    {injection: at("Protocol.Append", "end"), end: "disconnect"},
		"Protocol.Append, ack":           {injection: at("Protocol.Append", "call"), resumable: true},
		"Socket.Blocks":                  {injection: at("Socket.Blocks", "call"), untold: true},
		"Socket.LastFrame":               {injection: at("Socket.LastFrame", "end"), end: "close"},
		"Socket.Finished":                {injection: at("Socket.Finished", "end"), end: "close"},
		"Socket.Cut":                     {injection: at("Socket.Cut", "end"), end: "overflow"},
		"Socket.Cut, stopped":            {injection: at("Socket.Cut", "end"), end: "stop"},
		"GroupObserver.Joined":           {injection: at("GroupObserver.Joined g", "join")},
		"GroupObserver.Left":             {injection: at("GroupObserver.Left h", "leave group")},
		"GroupObserver.Left at the end":  {injection: at("GroupObserver.Left g", "end")},
		"GroupObserver.Left, stopped":    {injection: at("GroupObserver.Left g", "end"), end: "stop"},
		"GroupObserver.Left, Shutdown":   {injection: at("GroupObserver.Left g", "end"), end: "shutdown"},
		"Producer":                       {injection: at("Producer", "spawn")},
		"slog.Handler":                   {injection: &injection{message: isA[*membershipChange], point: "slog.Handler.Handle"}},
	}
	for _, name := range []string{"Describe, garbage", "Describe, heartbeat", "Describe, resumed", "GroupObserver.Left at the end", "Socket.Cut, stopped"} {
		one := *cases[name]
		one.injection = &injection{point: one.injection.point, stage: one.injection.stage, always: true}
		cases[name+", always"] = &one
	}
	for _, stage := range []string{"open", "call", "broadcast", "end"} {
		cases["Socket.TryWrite, "+stage] = &panicCase{injection: at("Socket.TryWrite", stage), end: "close", untold: true}
		cases["Socket.Write, "+stage] = &panicCase{injection: at("Socket.Write", stage), end: "close", untold: true, blocks: true}
	}
	return cases
}
