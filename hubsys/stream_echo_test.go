package hubsys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// What a client has sent before its upload fails comes back, over a channel as over a sequence.
func TestEchoOfAnUploadThatFails(t *testing.T) {
	_, url := newStreamServer(t, hubsys.HubOptions{})
	for _, method := range []string{"EchoSequence", "EchoChannel"} {
		c := dial(t, url)
		for range 50 {
			c.send(streamInvocation("1", method, []string{"s"}), streamItem("s", point{1, 1}), streamItem("s", point{2, 2}), errorCompletion("s", "oops"))
			var items []string
			for {
				m := c.next()
				if m.Type == 3 {
					require.Contains(t, *m.Error, "HubException: oops")
					break
				}
				items = append(items, m.raw)
			}
			require.Len(t, items, 2, method)
		}
	}
}
