package actors

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// A connection and a call fit into size classes of the allocator, which idle memory and the cost of a call depend on.
func TestSizes(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Connection{}), uintptr(640))
	assert.LessOrEqual(t, unsafe.Sizeof(Call{}), uintptr(224))
}
