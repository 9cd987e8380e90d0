package hubsys_test

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// packedClient is a client that speaks MessagePack.
type packedClient struct {
	*testClient
	unread []byte
}

func dialPacked(t *testing.T, url string) *packedClient {
	t.Helper()
	c := &packedClient{testClient: dialSocket(t, url, dialOptions{})}
	c.send(`{"protocol":"messagepack","version":1}`)
	_, answer, err := c.ws.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "{}\x1e", string(answer))
	return c
}

func (c *packedClient) write(records []byte) {
	c.t.Helper()
	require.NoError(c.t, c.ws.Write(context.Background(), websocket.MessageBinary, records))
}

// answer waits for the completion of a call.
func (c *packedClient) answer(id string) hubproto.Message {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	p := hubproto.MessagePack
	for {
		n, err := p.Next(c.unread, 0, 0)
		require.NoError(c.t, err)
		if n == 0 {
			_, b, err := c.ws.Read(ctx)
			require.NoError(c.t, err)
			c.unread = append(c.unread, b...)
			continue
		}
		var m hubproto.Message
		require.NoError(c.t, p.Parse(c.unread[:n], &m))
		c.unread = c.unread[n:]
		if m.Type == hubproto.Completion && string(m.ID) == id {
			return m
		}
	}
}

// result waits for the result of a call that has one.
func (c *packedClient) result(id string) any {
	c.t.Helper()
	m := c.answer(id)
	require.False(c.t, m.HasError, "%s", m.Error)
	var result any
	require.NoError(c.t, hubproto.MessagePack.BindValue(m.Value, reflect.ValueOf(&result).Elem()))
	return result
}

func (c *packedClient) call(method string, args ...any) {
	c.t.Helper()
	record, err := hubproto.MessagePack.AppendInvocation(nil, []byte("call"), method, args)
	require.NoError(c.t, err)
	c.write(record)
}

func (c *packedClient) invoke(method string, args ...any) any {
	c.t.Helper()
	c.call(method, args...)
	return c.result("call")
}

func (c *packedClient) invokeError(method string, args ...any) string {
	c.t.Helper()
	c.call(method, args...)
	m := c.answer("call")
	require.True(c.t, m.HasError)
	return string(m.Error)
}

type variadicHub struct{ hubsys.Hub }

func (*variadicHub) Join(rest ...string) string {
	return fmt.Sprintf("%d %s", len(rest), strings.Join(rest, "-"))
}
func (*variadicHub) Fixed(ctx context.Context, a int, b string, rest ...int) string {
	return fmt.Sprint(a, b, rest, rest == nil, ctx != nil)
}
func (*variadicHub) Points(rest ...*point) []*point { return rest }
func (*variadicHub) Any(rest ...any) []any          { return rest }
func (*variadicHub) Bytes(rest ...byte) int         { return len(rest) }
func (*variadicHub) Lists(rest ...[]int) [][]int    { return rest }
func (*variadicHub) Big(rest ...[32]int) int        { return len(rest) }
func (*variadicHub) Upload(by int, items <-chan int, rest ...int) int {
	n := sumOf(items)
	for _, r := range rest {
		n += r
	}
	return by * n
}

// dialVariadic serves a variadicHub to a client of each protocol.
func dialVariadic(t *testing.T, options hubsys.HubOptions) (*testClient, *packedClient) {
	t.Helper()
	sys := newSystem(t, hubsys.Config{})
	url := serve(t, sys, register[*variadicHub](t, sys, nil, options))
	return dial(t, url), dialPacked(t, url)
}

func TestVariadicMethodsTakeTheRemainingArguments(t *testing.T) {
	text, packed := dialVariadic(t, hubsys.HubOptions{})
	for _, test := range []struct {
		method string
		args   []any
		want   string
	}{
		{"Join", nil, `"0 "`}, {"Join", []any{"a"}, `"1 a"`}, {"Join", []any{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}, `"10 a-b-c-d-e-f-g-h-i-j"`}, {"Join", []any{nil, "a"}, `"2 -a"`},
		{"Fixed", []any{1, "b"}, `"1b[] false true"`}, {"Fixed", []any{1, "b", 2}, `"1b[2] false true"`}, {"Fixed", []any{1, "b", 2, 3, 4}, `"1b[2 3 4] false true"`},
		{"Points", []any{point{1, 2}, nil}, `[{"x":1,"y":2},null]`}, {"Points", nil, "[]"}, {"Any", []any{1, "a", nil, []any{true}}, `[1,"a",null,[true]]`}, {"Bytes", []any{1, 2, 3}, "3"},
		{"Lists", []any{[]int{1}, nil, []int{}}, "[[1],null,[]]"},
	} {
		r := text.invoke(test.method, test.args...)
		require.Equal(t, test.want, string(r.Result), "%s: %s", test.method, r.raw)
		packed.call(test.method, test.args...)
		require.Equal(t, strings.NewReplacer(`"x"`, `"X"`, `"y"`, `"Y"`).Replace(test.want), jsonOfPacked(t, packed.answer("call")), test.method)
	}
	text.send(uploadInvocation("u", "Upload", []string{"s"}, 10, 1, 2), streamItem("s", 3), completion("s"))
	require.Equal(t, "60", string(text.awaitCompletion("u").Result))
}

// jsonOfPacked returns the result of a completion as JSON.
func jsonOfPacked(t *testing.T, m hubproto.Message) string {
	t.Helper()
	require.False(t, m.HasError, "%s", m.Error)
	var v any
	require.NoError(t, hubproto.MessagePack.BindValue(m.Value, reflect.ValueOf(&v).Elem()))
	record, err := hubproto.JSON.AppendResult(nil, []byte("1"), v)
	require.NoError(t, err)
	return strings.TrimSuffix(strings.TrimPrefix(string(record), `{"type":3,"invocationId":"1","result":`), "}"+separator)
}

func TestOneCallOfAVariadicMethodLeavesNothingToTheNext(t *testing.T) {
	c, _ := dialVariadic(t, hubsys.HubOptions{MaximumParallelInvocationsPerClient: 4})
	for n := range 100 {
		args := make([]any, n%7)
		for i := range args {
			args[i] = n + i
		}
		c.send(invocation(fmt.Sprint(n), "Any", args...))
	}
	for range 100 {
		r := c.next()
		var n, more int
		_, err := fmt.Sscan(r.InvocationID, &n)
		require.NoError(t, err)
		want := []string{}
		for more = range n % 7 {
			want = append(want, fmt.Sprint(n+more))
		}
		require.Equal(t, "["+strings.Join(want, ",")+"]", string(r.Result))
	}
}

func TestArgumentsThatDoNotFitAVariadicMethod(t *testing.T) {
	text, packed := dialVariadic(t, hubsys.HubOptions{EnableDetailedErrors: true})
	const head = "Failed to invoke '%s' due to an error on the server. Error: "
	const misfit = head + "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked."
	for _, test := range []struct {
		method string
		args   []any
		want   string
	}{
		{"Fixed", nil, fmt.Sprintf(head+"Invocation provides 0 argument(s) but target expects 2.", "Fixed")},
		{"Fixed", []any{1}, fmt.Sprintf(head+"Invocation provides 1 argument(s) but target expects 2.", "Fixed")},
		{"Fixed", []any{1, "b", 2, "three"}, fmt.Sprintf(misfit, "Fixed")},
		{"Fixed", []any{1, "b", []int{2}}, fmt.Sprintf(misfit, "Fixed")},
		{"Fixed", []any{1, "b", nil}, fmt.Sprintf(misfit, "Fixed")},
		{"Join", []any{[]string{"a"}}, fmt.Sprintf(misfit, "Join")},
		{"Join", []any{"a", 2}, fmt.Sprintf(misfit, "Join")},
		{"Bytes", []any{256}, fmt.Sprintf(misfit, "Bytes")},
	} {
		require.Equal(t, test.want, text.invokeError(test.method, test.args...), "%v", test.args)
		require.Equal(t, test.want, packed.invokeError(test.method, test.args...), "%v", test.args)
	}
	// One that does not fit, of too few: the number comes first in MessagePack alone.
	require.Equal(t, fmt.Sprintf(misfit, "Fixed"), text.invokeError("Fixed", "one"))
	require.Equal(t, fmt.Sprintf(head+"Invocation provides 1 argument(s) but target expects 2.", "Fixed"), packed.invokeError("Fixed", "one"))
	require.Equal(t, `"1 a"`, string(text.invoke("Join", "a").Result))
}

// The arguments of one message are at most 32 KB, whatever they are.
func TestMemoryForVariadicArgumentsIsBounded(t *testing.T) {
	text, packed := dialVariadic(t, hubsys.HubOptions{})
	for what, f := range map[string]func(){
		"numbers": func() {
			text.send(`{"type":1,"invocationId":"1","target":"Bytes","arguments":[` + strings.Repeat("1,", 16000) + "1]}")
			text.awaitCompletion("1")
		},
		"misfits": func() {
			text.send(`{"type":1,"invocationId":"1","target":"Points","arguments":[` + strings.Repeat("1,", 16000) + "1]}")
			text.awaitCompletion("1")
		},
		"any": func() {
			text.send(`{"type":1,"invocationId":"1","target":"Bytes","arguments":[` + strings.Repeat("{},", 10000) + "{}]}")
			text.awaitCompletion("1")
		},
		"packed":    func() { packed.call("Bytes", make([]any, 32000)...); packed.answer("call") },
		"too small": func() { packed.call("Fixed", 1); packed.answer("call") },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), what)
	}
}

func TestExplainArgumentsNamesTheArgumentThatDoesNotFit(t *testing.T) {
	const generic = "Failed to invoke 'Fixed' due to an error on the server."
	const detailed = generic + " Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked."
	for name, test := range map[string]struct {
		options hubsys.HubOptions
		want    string
	}{
		"neither":                    {hubsys.HubOptions{}, generic},
		"without detailed errors":    {hubsys.HubOptions{ExplainArguments: true}, generic},
		"detailed errors without it": {hubsys.HubOptions{EnableDetailedErrors: true}, detailed},
		"both":                       {hubsys.HubOptions{EnableDetailedErrors: true, ExplainArguments: true}, detailed + " argument 4 does not fit int: "},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logRecorder{}
			sys := newSystem(t, hubsys.Config{Logger: log.logger()})
			url := serve(t, sys, register[*variadicHub](t, sys, nil, test.options))
			for _, invokeError := range []func(string, ...any) string{dial(t, url).invokeError, dialPacked(t, url).invokeError} {
				before := strings.Count(log.String(), "argument 4 does not fit int: ")
				got := invokeError("Fixed", 1, "b", 2, "three")
				if strings.HasSuffix(test.want, ": ") {
					require.True(t, strings.HasPrefix(got, test.want) && len(got) > len(test.want), got)
				} else {
					require.Equal(t, test.want, got)
				}
				require.Equal(t, before+1, strings.Count(log.String(), "argument 4 does not fit int: "), log)
				got = invokeError("Fixed", 1)
				if test.options.EnableDetailedErrors {
					require.Equal(t, generic+" Error: Invocation provides 1 argument(s) but target expects 2.", got)
				} else {
					require.Equal(t, generic, got)
				}
			}
			require.Contains(t, log.String(), "level=DEBUG msg=\"arguments do not fit\"")
		})
	}
}
