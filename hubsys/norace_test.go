//go:build !race

package hubsys_test

// crowd is how many clients the largest test has.
const crowd = 1000
