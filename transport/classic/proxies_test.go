package classic

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCamelCase(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "A": "a", "Send": "send", "send": "send", "SendToAll": "sendToAll", "URL": "uRL", "ChatHub": "chatHub", "Chat.Hub": "chat.hub", "MyApp.Chat.Hub": "myApp.chat.hub",
		"ÄÖ": "äÖ", "Чат": "чат", "1A": "1A", "_A": "_A", "A b": "a b", ".": ".", "A.": "a.", ".A": ".a", "A..B": "a..b", "😀A": "😀A",
	} {
		assert.Equal(t, want, CamelCase(name), "%q", name)
	}
}

// proxyHub is a hub of a script of proxies.
type proxyHub struct {
	Hub
	proxy   string
	methods []Method
}

func (h *proxyHub) Proxy() string     { return h.proxy }
func (h *proxyHub) Methods() []Method { return h.methods }

func script(t *testing.T, url string, hubs ...Hub) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, WriteProxies(&b, url, hubs))
	return b.String()
}

func TestTheScriptOfProxies(t *testing.T) {
	s := script(t, "/signalr",
		&proxyHub{proxy: "testHub", methods: []Method{{"Send", "send"}, {"Add", "add"}, {"sayIt", "sayIt"}}}, &proxyHub{proxy: "StrangeName"}, &proxyHub{proxy: "chatHub", methods: []Method{{"One", "one"}}})
	require.Contains(t, s, `$.each({
      "StrangeName": {},
      "chatHub": {"one": "One"},
      "testHub": {"add": "Add", "sayIt": "sayIt", "send": "Send"}
    }, add);`, "hubs and methods are sorted by the names that the page has for them")
	require.Contains(t, s, `$.signalR.hub = $.hubConnection("/signalr", { useDefaultPath: false });`)
	require.True(t, strings.HasPrefix(s, "//"))
	require.Contains(t, s, "(function ($, window) {")
	require.True(t, strings.HasSuffix(strings.TrimSpace(s), "}(window.jQuery, window));"))
	require.NotContains(t, s, "HUBS")
	require.NotContains(t, s, "(URL")
	for _, pair := range []string{"()", "{}", "[]"} {
		require.Equal(t, strings.Count(s, pair[:1]), strings.Count(s, pair[1:]), pair)
	}
	require.Zero(t, strings.Count(s, `"`)%2)
	require.Contains(t, s, `hub[what](name, forHub(hub, callback), callback);`, "the third argument is how clients tell handlers apart")
	require.NotContains(t, s, "Call the client hub method", "by which clients would take the script for one of an old version")
}

func TestTheScriptWithoutHubs(t *testing.T) {
	require.Contains(t, script(t, "/signalr"), "$.each({\n    }, add);")
}

// Names stand in a script, which may stand in a page: nothing of them can end it.
func TestOddNamesStandInTheScriptAsTexts(t *testing.T) {
	odd := "\"'\\\n\u2028</script><!--$1${x}&\x00é"
	const quoted = `"\"'\\\n\u2028\u003c/script\u003e\u003c!--$1${x}\u0026\u0000é"`
	s := script(t, "/a b/"+odd, &proxyHub{proxy: odd, methods: []Method{{odd, odd}}})
	require.Contains(t, s, quoted+": {"+quoted+": "+quoted+"}")
	require.Contains(t, s, `$.hubConnection("/a b/`+quoted[1:]+`, {`)
	require.NotContains(t, s, "</script")
	require.NotContains(t, s, "\u2028")
}

func TestTheScriptIsTheSameEachTime(t *testing.T) {
	hubs := func() []Hub {
		return []Hub{&proxyHub{proxy: "b", methods: []Method{{"B", "b"}, {"A", "a"}}}, &proxyHub{proxy: "a"}}
	}
	given := hubs()
	require.Equal(t, script(t, "/x", given...), script(t, "/x", hubs()[1], hubs()[0]))
	require.Equal(t, "b", given[0].Proxy(), "what was given is left as it is")
	require.Equal(t, []Method{{"B", "b"}, {"A", "a"}}, given[0].Methods())
}

type brokenWriter struct{ error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.error }

func TestAScriptThatCannotBeWritten(t *testing.T) {
	broken := brokenWriter{errors.New("broken")}
	require.ErrorIs(t, WriteProxies(broken, "/x", nil), broken.error)
}
