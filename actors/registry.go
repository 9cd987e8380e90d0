package actors

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"
)

// registryBuckets is into how many buckets of 32 maps each the registry of an actor system of the runtime's own is divided. protoactor has 1,024,
// which take 3 MB, and another 9 MB in the course of the first hundred thousand connections, because a map gets memory with its first process.
const registryBuckets = 32

// shrinkRegistry makes the registry of an actor system smaller, before anybody else knows the system. registryBuckets divides the number of
// buckets, so what is in those that stay is found there.
func shrinkRegistry(system *actor.ActorSystem) {
	registry := system.ProcessRegistry.LocalPIDs
	kept := slices.Clone(registry.LocalPIDs[:registryBuckets])
	for i, bucket := range registry.LocalPIDs[registryBuckets:] {
		bucket.IterCb(func(id string, process any) { kept[i%registryBuckets].Set(id, process) })
	}
	registry.LocalPIDs = kept
}
