package actors

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// A client that has never sent a ping is subject to IdleTimeout, which any message puts off.
func TestIdleTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.ClientTimeout, e.settings.IdleTimeout = 10*second, 60*second
		c, pinging := e.open("a", ""), e.open("b", "")
		pinging.send(`{"type":6}`)
		e.sleep(50 * second)
		assert.True(t, pinging.conn.isClosing.Load())
		c.send(call("1", "echo"))
		e.sleep(50 * second)
		assert.False(t, c.conn.isClosing.Load())
		e.sleep(15 * second)
		assert.True(t, c.conn.isClosing.Load())
		assert.Contains(t, e.handler.events(), "disconnected a: "+ErrClientTimeout.Error())
	})
}

// A connection is closed when its lifetime is over, and its client told to reconnect.
func TestLifetimeOfAConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.Lifetime = 60 * second
		c := e.open("a", "")
		e.sleep(58 * second)
		assert.False(t, c.conn.isClosing.Load())
		e.sleep(5 * second)
		messages := c.messages()
		assert.Contains(t, messages, `{"type":7,"allowReconnect":true}`)
		assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, e.handler.events())
	})
}

// An Invoke whose context has no deadline waits for InvokeTimeout.
func TestInvokeTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InvokeTimeout = 60 * second
		c := e.open("a", "")
		result := make(chan error, 1)
		go func() {
			result <- e.hub.Invoke(context.Background(), &Audience{Kind: Connections, Names: []string{"a"}}, "ask", nil,
				func(hubproto.Protocol, []byte) error { return nil })
		}()
		e.sleep(59 * second)
		require.Empty(t, result)
		e.sleep(2 * second)
		require.Len(t, result, 1)
		err := <-result
		assert.ErrorIs(t, err, ErrUnanswered)
		assert.ErrorIs(t, err, ErrInvokeTimeout)
		assert.Contains(t, err.Error(), "1m0s")
		assert.False(t, c.conn.isClosing.Load())
	})
}

func (r *userRates) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.buckets)
}

// The connections of a user share a rate of calls. Users who have not called for a while are forgotten.
func TestCallRateOfAUser(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.UserCallRate = 2
		var rates [UserRate + 1]atomic.Int32
		counted := func() []int32 { return []int32{rates[WithinRate].Load(), rates[UserRate].Load()} }
		e.handler.methods["rate"] = func(k *Call, _ string) (any, error) {
			rates[k.OverRate()].Add(1)
			return json.RawMessage("1"), nil
		}
		first, second, other, anonymous := e.open("a", "ann"), e.open("b", "ann"), e.open("c", "bob"), e.open("d", "")
		for range 4 {
			first.send(call("1", "rate"))
			e.settle()
			second.send(call("1", "rate"))
			e.settle()
		}
		assert.Equal(t, []int32{4, 4}, counted())
		other.send(call("1", "rate"))
		anonymous.send(call("1", "rate"))
		e.settle()
		assert.Equal(t, []int32{6, 4}, counted())
		assert.Equal(t, 2, e.hub.userRates.count())
		e.sleep(5 * 1e9)
		assert.Zero(t, e.hub.userRates.count())
		first.send(call("1", "rate"))
		e.settle()
		assert.Equal(t, []int32{7, 4}, counted())
	})
}
