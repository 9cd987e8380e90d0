// Package hubsys serves SignalR hubs.
//
// A hub is a struct that embeds [Hub]; its exported methods can be called by clients. [Register] makes it known to a [System], which is an
// [http.Handler], and [HubContext.Map] gives it a path. A new hub value is made for each call, so it needs no locks.
//
// The guide, with examples, is docs/guide.md in the repository.
package hubsys
