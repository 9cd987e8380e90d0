//go:build !race

package hubsys_test

// crowd is how many clients the largest test has.
const crowd = 1000

// raced says whether the race detector is on.
const raced = false
