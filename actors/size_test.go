package actors

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// Connection and Call fit into size classes of the allocator. The memory of idle connections and the cost of calls depend on them.
func TestStructSizes(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Connection{}), uintptr(704))
	assert.LessOrEqual(t, unsafe.Sizeof(Call{}), uintptr(224))
}
