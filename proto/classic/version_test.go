package classic_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/proto/classic"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{
		"1.2": "1.2", "1.3": "1.3", "1.4": "1.4", "1.5": "1.5", "2.0": "2.0", // versions that clients have
		"2.1": "2.0", "2.0.1": "2.0", "2.10": "2.0", "3.0": "2.0", "10.0": "2.0", "999999999.999999999": "2.0",
		"0.9": "1.2", "0.0": "1.2", "1.0": "1.2", "1.1": "1.2", "1.1.9": "1.2",
		"1.3.5": "1.3.5", "1.2.3": "1.2.3", "1.2.3.4": "1.2.3.4", "1.9": "1.9", "1.10": "1.10",
		"": "1.2", " ": "1.2", "x": "1.2", "1": "1.2", "2": "1.2", "1.": "1.2", ".5": "1.2", "1..5": "1.2", "1,5": "1.2", "1.x": "1.2", "x.5": "1.2", "1.5.": "1.2", "1.5x": "1.2",
		"-1.5": "1.2", "1.-5": "1.2", "1.2.3.4.5": "1.2", "2.0.0.0.0": "1.2", "1.99999999999": "1.2", "99999999999999999999.0": "1.2", "1.5\n": "1.2", "1.5e1": "1.2",
	} {
		assert.Equal(t, want, classic.ParseVersion(text).String(), "%q", text)
	}
}

func TestWhichVersionsHaveADelayedStart(t *testing.T) {
	for text, connectsAtOnce := range map[string]bool{
		"": true, "1.2": true, "1.3": true, "1.3.5": true, "1.3.9.9": true, "1.4": false, "1.4.1": false, "1.5": false, "1.10": false, "2.0": false, "2.1": false, "9.9": false,
	} {
		assert.Equal(t, connectsAtOnce, classic.ParseVersion(text).Before(classic.DelayedStart), "%q", text)
	}
}
