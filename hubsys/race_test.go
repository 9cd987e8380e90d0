//go:build race

package hubsys_test

// manyClients is the number of clients of the largest test. The race detector makes each of them several times as expensive.
const manyClients = 100

// raceFactor divides the sizes of large loops.
const raceFactor = 5
