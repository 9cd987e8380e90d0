package hubsys_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// cannotClose is a protocol that panics when it writes a Close message.
type cannotClose struct {
	hubproto.Protocol
	panics *atomic.Int64
}

func (p cannotClose) Append(dst []byte, m *hubproto.Message) []byte {
	if m.Type == hubproto.Close {
		p.panics.Add(1)
		panic("a Close")
	}
	return p.Protocol.Append(dst, m)
}

// A connection whose Close message cannot be written closes without one.
func TestAProtocolThatPanicsOverAClose(t *testing.T) {
	var panics atomic.Int64
	srv := newTestServer(t, testConfig{
		HubOptions:      hubsys.HubOptions{Protocols: []hubproto.Protocol{cannotClose{hubproto.JSON, &panics}}},
		EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose},
	})
	c := dial(t, srv.url)
	c.send(`{"type":7}`)
	c.requireClosed()
	require.EqualValues(t, 1, panics.Load())
	c = dial(t, srv.url)
	c.send("no json")
	c.requireClosed()
	require.EqualValues(t, 2, panics.Load())
}

// cannotFail is a protocol that panics when it writes the error of a call.
type cannotFail struct{ hubproto.Protocol }

func (cannotFail) AppendError([]byte, []byte, string) []byte { panic("an error") }

// A call whose error cannot be written has no answer; others have.
func TestAProtocolThatPanicsOverAnError(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{Protocols: []hubproto.Protocol{cannotFail{hubproto.JSON}}}})
	c := dialHandshake(t, srv.url, dialOptions{})
	c.send(invocation("1", "NoSuchMethod"))
	require.Equal(t, `"x"`, string(c.invoke("Echo", "x").Result))
	require.Contains(t, srv.log.String(), "an error")
}
