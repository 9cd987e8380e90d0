// Package actors is the runtime of hubs: the actors that connections, groups, users and running calls are, the outboxes that carry
// what is sent to clients, and the goroutines that write it.
//
// It runs hubs through [Handler], writes through [Socket] or lets [Requests] fetch, and knows neither reflection nor HTTP. The tree of
// actors:
//
//	hubsys-<node>                     one root per System
//	├── connections/<n>               supervisors of a part of the connections each
//	│   └── <connection id>           Connection
//	│       └── call/<n>              Call: one per invocation; an actor that costs no more than a struct
//	├── hubs/<hub>/inbox              takes troupe.v1.Send from any actor
//	└── heartbeat                     a tick a second for all that depends on time
//
// Groups, users and everyone are actors whose mailbox has no queue: see group.
//
// Locks are taken in this order: group, outbox, flusher list; run queue, then the System's, an upload's and then the input's, a call's and
// then a counter's, or the mailbox's; the System's before a supervisor's and that before a counter's. No other lock is taken under a
// directory's. Nothing under them blocks, encodes, logs or runs user code.
package actors
