// Package actors is the runtime of hubs: the actors that connections, groups, users and running calls are, and the goroutines that run user
// code. What waits to be sent, and the goroutines that write it, are in package outbox below it.
//
// It runs hubs through [Handler], talks to transports through the interfaces of internal/link, and knows neither reflection nor HTTP. The
// tree of actors:
//
//	hubsys-<node>                     one root per System; hubsys, where there are other nodes
//	├── connections/<n>               each supervises a part of the connections
//	│   └── <connection id>           Connection
//	│       └── call/<n>              Call: one per invocation; an actor that costs no more than a struct
//	├── hubs/<hub>/inbox              the address of the hub
//	├── hubs/<hub>/groups/<name>      that of a group or a user: registered when somebody asks for it
//	└── heartbeat                     gets a tick a second, for everything that depends on time
//
// Groups, users and everyone are actors whose mailbox has no queue: see group.
//
// # Locks
//
// A lock may be taken while one that stands left of it is held, and in no other order:
//
//	System → outbox.Box, connectionSupervisor, counter
//	sending of a group → group → outbox.Box
//	group → list of an outbox.Flusher
//	group → watchers → Watch
//	watchElsewhere → Watch, nodes
//	addresses → the process registry of protoactor
//	runQueue → Upload → input
//	runQueue → Call → counter, and the process registry of protoactor
//	runQueue → mailbox
//
// Locks of a Backplane, whose Subscribe and Unsubscribe are called with a shard of the directory or of the connections locked, stand right of all
// others. No other lock is taken under that of a shard of the directory, of results, of workers, of an input, of a mailbox or of a Box. Nothing that
// runs under a lock blocks, encodes, logs or runs user code, except for what a GroupObserver does under the lock of a group, and the requests of a
// watchElsewhere, which are encoded under its lock.
package actors
