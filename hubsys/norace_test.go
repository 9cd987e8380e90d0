//go:build !race

package hubsys_test

// manyClients is the number of clients of the largest test.
const manyClients = 1000

// raceFactor divides the sizes of large loops, which take several times as long under the race detector.
const raceFactor = 1
