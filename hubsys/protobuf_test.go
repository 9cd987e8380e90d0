package hubsys_test

import (
	"context"
	"encoding/json"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/troupe-go/troupe/hubsys"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// protoHub has protobuf messages wherever they can be.
type protoHub struct{ hubsys.Hub }

func (*protoHub) Names(n *troupev1.Names) *troupev1.Names                  { return n }
func (*protoHub) List(list []*troupev1.Names) []*troupev1.Names            { return list }
func (*protoHub) Variadic(rest ...*troupev1.Names) int                     { return len(rest) }
func (*protoHub) Time(at *timestamppb.Timestamp, s *structpb.Struct) []any { return []any{at, s} }
func (*protoHub) Items(items iter.Seq2[*troupev1.Names, error]) <-chan *troupev1.Names {
	c := make(chan *troupev1.Names, 10)
	defer close(c)
	for item := range items {
		c <- item
	}
	return c
}
func (h *protoHub) Send(ctx context.Context, n *troupev1.Names) error {
	return h.Clients().Caller().Send(ctx, "receive", n, []*troupev1.Names{n})
}

func TestProtobufMessagesInMethods(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	url := serve(t, sys, register[*protoHub](t, sys, nil, hubsys.HubOptions{}))
	c, packed := dial(t, url), dialPacked(t, url)
	names := map[string]any{"names": []string{"a"}}
	for _, test := range []struct {
		method string
		args   []any
		want   string
	}{
		{"Names", []any{names}, `{"names":["a"]}`}, {"Names", []any{nil}, "null"}, {"Names", []any{map[string]any{"other": 1}}, "{}"},
		{"List", []any{[]any{names, nil}}, `[{"names":["a"]},null]`}, {"Variadic", []any{names, nil, names}, "3"},
		{"Time", []any{"2024-05-06T07:08:09Z", map[string]any{"a": []any{1.5, nil}}}, `["2024-05-06T07:08:09Z",{"a":[1.5,null]}]`},
	} {
		r := c.invoke(test.method, test.args...)
		require.Equal(t, test.want, string(r.Result), "%s: %s", test.method, r.raw)
		packed.call(test.method, test.args...)
		require.Equal(t, test.want, jsonOfPacked(t, packed.answer("call")), test.method)
	}
	for _, arg := range []any{5, "a", []any{}, map[string]any{"names": 5}} {
		require.Equal(t, "Failed to invoke 'Names' due to an error on the server.", c.invokeError("Names", arg))
		require.Equal(t, "Failed to invoke 'Names' due to an error on the server.", packed.invokeError("Names", arg))
	}
	c.send(streamInvocation("s", "Items", []string{"u"}), streamItem("u", names), streamItem("u", nil), completion("u"))
	c.requireMessages(streamItem("s", names), streamItem("s", nil), completion("s"))
	c.invoke("Send", names)
	c.requireInvocation("receive", names, []any{names})
}

func TestAFilterSeesAndReplacesProtobufMessages(t *testing.T) {
	c := dialHub[*protoHub](t, nil, hubsys.HubOptions{Filters: []hubsys.Filter{around(func(ctx context.Context, in *hubsys.Invocation, next invokeFunc) (any, error) {
		if n, ok := in.Args()[0].(*troupev1.Names); ok {
			in.Args()[0] = &troupev1.Names{Names: append(n.GetNames(), "appended")}
		}
		return next(ctx, in)
	})}})
	require.Equal(t, `{"names":["a","appended"]}`, string(c.invoke("Names", map[string]any{"names": []string{"a"}}).Result))
	require.Equal(t, `{"names":["appended"]}`, string(c.invoke("Names", nil).Result))
}

func TestAHandlerBindsProtobufMessages(t *testing.T) {
	c := dialHandler(t, handlers{"join": func(_ context.Context, in *hubsys.Invocation) (any, error) {
		one, list := &troupev1.Names{Names: []string{"was there"}}, []*troupev1.Names{nil}
		if err := in.Bind(&one, &list); err != nil {
			return nil, err
		}
		return append(list, one), nil
	}}, hubsys.HubOptions{})
	require.Equal(t, `[{"names":["b"]},{"names":["a"]}]`, string(c.invoke("join", json.RawMessage(`{"names":["a"]}`), json.RawMessage(`[{"names":["b"]}]`)).Result))
	require.Equal(t, "[null]", string(c.invoke("join", nil, nil).Result))
}

type valueProtoHub struct{ hubsys.Hub }

type holdsNames struct{ Names *troupev1.Names }

func (*valueProtoHub) Argument(struct{ N []troupev1.Names }) {}
func (*valueProtoHub) Items(<-chan holdsNames)               {}
func (*valueProtoHub) Map(map[string]*troupev1.Names)        {}
func (*valueProtoHub) Nested(holdsNames)                     {}
func (*valueProtoHub) Result() []troupev1.Names              { return nil }
func (*valueProtoHub) Stream() iter.Seq2[*holdsNames, error] { return nil } // written, not read
func (*valueProtoHub) Variadic(...[]*troupev1.Names)         {}
func (*valueProtoHub) Written() (holdsNames, error)          { return holdsNames{}, nil } // as is this

func TestProtobufMessagesThatCannotBeReadAreRefused(t *testing.T) {
	const value = "troupev1.Names is a protobuf message: use *troupev1.Names"
	const nested = "the protobuf message *troupev1.Names is read as a parameter or an item of its own, or in a list, but not inside of another type"
	require.Equal(t, []string{
		"method Argument: parameter 1: in struct { N []troupev1.Names }, field N: in []troupev1.Names: " + value,
		"method Items: parameter 1: its items: in hubsys_test.holdsNames, field Names: " + nested,
		"method Map: parameter 1: in map[string]*troupev1.Names: " + nested,
		"method Nested: parameter 1: in hubsys_test.holdsNames, field Names: " + nested,
		"method Result: its result: in []troupev1.Names: " + value,
	}, registrationFaults[valueProtoHub](t))
}
