package actors

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/proto/hubproto"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// What is encoded here is what the generated code encodes, and the other way round.
func TestCallsOfNodesAreThoseOfProtobuf(t *testing.T) {
	h := &Hub{name: "chat", protocols: []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack}}
	rapid.Check(t, func(t *rapid.T) {
		c := nodeCall{
			hub:    h,
			except: rapid.SliceOfN(rapid.StringN(-1, -1, 200), 0, 3).Draw(t, "except"),
			waits:  rapid.Bool().Draw(t, "waits"), limited: rapid.Bool().Draw(t, "limited"),
			policy: outbox.Policy(rapid.IntRange(0, 255).Draw(t, "policy")), key: rapid.String().Draw(t, "key"),
		}
		call := &nodev1.Call{Except: c.except, Waits: c.waits, Limited: c.limited, Policy: uint32(c.policy), Key: c.key}
		for i, p := range h.protocols {
			if rapid.Bool().Draw(t, p.Name()) {
				c.encodings[i] = rapid.SliceOfN(rapid.Byte(), 1, 20_000).Draw(t, "message")
				call.Encodings = append(call.Encodings, &nodev1.Encoding{Protocol: p.Name(), Message: c.encodings[i]})
			}
		}
		want := &nodev1.Message{Hub: h.name, Kind: &nodev1.Message_Call{Call: call}}

		var got nodev1.Message
		b := c.encode()
		require.Equal(t, len(b), cap(b))
		require.NoError(t, proto.Unmarshal(b, &got))
		require.True(t, proto.Equal(want, &got), "%v", &got)

		// A newer node may add fields, and protocols.
		call.ProtoReflect().SetUnknown(protowire.AppendFixed64(protowire.AppendTag(nil, 1000, protowire.Fixed64Type), 1))
		call.Encodings = append(call.Encodings, &nodev1.Encoding{Protocol: "new", Message: []byte("x")})
		b, err := proto.Marshal(want)
		require.NoError(t, err)
		hub, encoded := findCall(b)
		require.Equal(t, h.name, string(hub))
		decoded := nodeCall{hub: h}
		require.True(t, decoded.decode(encoded))
		if len(c.except) == 0 {
			c.except = nil
		}
		require.Equal(t, c, decoded)

		cut := rapid.IntRange(0, len(encoded)).Draw(t, "cut")
		(&nodeCall{hub: h}).decode(encoded[:cut]) // does not panic
	})
}

func TestOtherMessagesOfNodesAreNoCalls(t *testing.T) {
	b, err := proto.Marshal(&nodev1.Message{Hub: "chat", Kind: &nodev1.Message_End{End: &nodev1.End{Reason: "enough"}}})
	require.NoError(t, err)
	_, call := findCall(b)
	require.Nil(t, call)
	b, err = proto.Marshal(&nodev1.Message{Hub: "chat", Kind: &nodev1.Message_Call{Call: &nodev1.Call{}}})
	require.NoError(t, err)
	_, call = findCall(b)
	require.NotNil(t, call)
	_, call = findCall(append(b, 0xff))
	require.Nil(t, call)
}
