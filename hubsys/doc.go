// Package hubsys serves SignalR hubs. A hub is a struct that embeds [Hub]; clients call its exported methods. [Register] makes it known to a
// [System], an [http.Handler], and [HubContext.Map] gives it a path. Each call gets a hub value of its own, so it needs no locks. The guide,
// with examples, is docs/guide.md in the repository.
package hubsys
