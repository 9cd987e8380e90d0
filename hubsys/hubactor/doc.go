// Package hubactor lets actors of the application be hubs, or stand beside the groups of one.
//
// [Register] makes a hub of actors: calls of clients arrive as messages, which Respond answers. [PerGroup] spawns an actor for each group of a hub.
// [Ask], [Ref.Tell] and [Tick] are for hub methods and actors that talk to each other.
package hubactor
