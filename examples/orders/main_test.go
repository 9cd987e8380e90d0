package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Clients that come and go leave nothing behind, whatever symbols they have made up.
func TestSymbolsWithoutOrdersAreForgotten(t *testing.T) {
	b := &Book{open: map[string][]Order{}}
	for _, owner := range []string{"ada", "bob"} {
		left, err := b.place(Order{Symbol: "ACME", Buy: true, Price: 10, Amount: 5}, owner)
		require.NoError(t, err)
		require.Equal(t, 5, left)
	}
	b.forget("ada")
	require.Len(t, b.open["ACME"], 1)
	b.forget("bob")
	require.Empty(t, b.open)
}
