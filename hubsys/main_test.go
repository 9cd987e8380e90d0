package hubsys_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain raises the number of parallel tests, unless -parallel is set: parallel tests mostly wait for timeouts.
func TestMain(m *testing.M) {
	flag.Parse()
	isSet := false
	flag.Visit(func(f *flag.Flag) { isSet = isSet || f.Name == "test.parallel" })
	if !isSet {
		_ = flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}
