// Package cluster joins the Systems of several processes: its Backplane carries messages and requests between them.
//
// A network (network.go) says which nodes there are, and carries frames to them. The rest does not know what network it is:
//
//   - A node (node.go) has a link to each other one (link.go). Its session (session.go) begins with Hello, and ends with the first sign that a frame
//     may be lost, or that the other node is not there. Whether a node is up is said by its link alone.
//   - Messages (outgoing.go, incoming.go) travel in numbered batches, of which a window is unacknowledged. A message that is larger than a batch
//     travels in pieces. What has been received is acknowledged when the host has been given it, so that senders are as fast as receivers.
//   - What this node wants (subscriptions.go) is told to the others in numbered changes (telling.go), which go ahead of the messages that wait. What
//     the others want is in one table (interest.go).
//
// Locks are taken in this order: node.mu, link.mu, then one of subscriptions.mu and interest.mu, bank.mu, shard.mu. None is held while a frame is sent
// or the host is called.
package cluster
