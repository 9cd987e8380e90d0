// Package classic serves the HTTP requests and WebSockets of ASP.NET SignalR 2 clients.
//
// A client has a session, which outlives the requests that carry it, and the session has a connection in each hub that the client has listed
// (and, without events, in others that it calls). To these connections, which are those of package actors, the session is a socket that takes
// everything: it keeps the last messages, numbered, and whatever request of the client receives at the moment gets those that the client has
// not seen. See docs/protocol.md, 17.
package classic
