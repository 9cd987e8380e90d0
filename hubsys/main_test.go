package hubsys_test

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"
)

// TestMain raises the number of parallel tests, unless -parallel is set: parallel tests mostly wait for timeouts. When all tests are over, it looks
// for secrets in everything that was logged.
func TestMain(m *testing.M) {
	flag.Parse()
	isSet := false
	flag.Visit(func(f *flag.Flag) { isSet = isSet || f.Name == "test.parallel" })
	if !isSet {
		_ = flag.Set("test.parallel", "8")
	}
	slog.SetDefault(newSuiteLogger()) // of systems without a Logger
	code := m.Run()
	if found := suite.leaks(); len(found) > 0 {
		fmt.Println("FAIL: the log holds secrets of clients:")
		for _, line := range found {
			fmt.Println("   ", line)
		}
		code = 1
	}
	suite.remove()
	os.Exit(code)
}
