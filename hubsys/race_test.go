//go:build race

package hubsys_test

// crowd is how many clients the largest test has; the race detector makes each of them several times as dear.
const crowd = 200

// raced says whether the race detector is on.
const raced = true
