// Package classic is the encoding of ASP.NET SignalR 2: what its clients send and what they are sent.
//
// A client has one session with several hubs, and the session has a connection in each of them. What passes between a session and its
// connections are records of [Protocol]; what passes between a session and its client is in this package as well: [Invocation], [Envelope],
// [Names], [Version], [Cursor].
package classic
