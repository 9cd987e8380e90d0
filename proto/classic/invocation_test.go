package classic_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/classic"
)

// validInvocations are calls as the clients write them, and in other forms that are as good.
var validInvocations = []struct {
	name, text  string
	hub, method string
	arguments   string
	state       string
	id          *string
}{
	{"of the client in JavaScript", `{"H":"chathub","M":"Echo","A":["hi"],"I":0}`, "chathub", "Echo", `["hi"]`, "", id("0")},
	{"of the client in .NET", `{"I":"0","H":"ChatHub","M":"Echo","A":["hi"]}`, "ChatHub", "Echo", `["hi"]`, "", id("0")},
	{"with state", `{"H":"h","M":"m","A":[],"I":1,"S":{"a":{"b":[1]}}}`, "h", "m", `[]`, `{"a":{"b":[1]}}`, id("1")},
	{"with empty state", `{"H":"h","M":"m","A":[],"I":1,"S":{}}`, "h", "m", `[]`, `{}`, id("1")},
	{"with null as state", `{"H":"h","M":"m","A":[],"I":1,"S":null}`, "h", "m", `[]`, "", id("1")},
	{"without arguments", `{"H":"h","M":"m","I":1}`, "h", "m", `[]`, "", id("1")},
	{"with null as arguments", `{"H":"h","M":"m","A":null,"I":1}`, "h", "m", `[]`, "", id("1")},
	{"with several arguments", `{"H":"h","M":"m","A":[1,null,{"x":[]},"]"],"I":1}`, "h", "m", `[1,null,{"x":[]},"]"]`, "", id("1")},
	{"without an id", `{"H":"h","M":"m","A":[]}`, "h", "m", `[]`, "", nil},
	{"with null as id", `{"H":"h","M":"m","A":[],"I":null}`, "h", "m", `[]`, "", nil},
	{"with an empty id", `{"H":"h","M":"m","A":[],"I":""}`, "h", "m", `[]`, "", id("")},
	{"with an id that has blanks", `{"H":"h","M":"m","A":[],"I":" 1 2 "}`, "h", "m", `[]`, "", id(" 1 2 ")},
	{"with an id that has escapes", `{"H":"h","M":"m","A":[],"I":"\"\\\n\u00e9"}`, "h", "m", `[]`, "", id("\"\\\né")},
	{"with a large id", `{"H":"h","M":"m","A":[],"I":12345678901234567890}`, "h", "m", `[]`, "", id("12345678901234567890")},
	{"with the longest id", `{"H":"h","M":"m","A":[],"I":"` + strings.Repeat("x", 256) + `"}`, "h", "m", `[]`, "", id(strings.Repeat("x", 256))},
	{"with odd names", `{"H":" .é","M":"!!!|\\CallMeBack,,,!!!","A":[],"I":1}`, " .é", `!!!|\CallMeBack,,,!!!`, `[]`, "", id("1")},
	{"with control characters in its names", `{"H":"\u001e\u001f\u0000","M":"\u001f\u001e","A":[],"I":1}`, "\x1e\x1f\x00", "\x1f\x1e", `[]`, "", id("1")},
	{"with null as names", `{"H":null,"M":null,"A":[],"I":1}`, "", "", `[]`, "", id("1")},
	{"with blanks", " {\n\"H\" : \"h\" ,\t\"M\":\"m\", \"A\" : [ 1 , 2 ] , \"I\" : 7 } ", "h", "m", `[ 1 , 2 ]`, "", id("7")},
	{"with unknown members", `{"H":"h","M":"m","A":[],"I":1,"X":{"A":[2]}}`, "h", "m", `[]`, "", id("1")},
}

func id(text string) *string { return &text }

func TestParseInvocation(t *testing.T) {
	for _, test := range validInvocations {
		t.Run(test.name, func(t *testing.T) {
			in, err := classic.ParseInvocation([]byte(test.text))
			require.NoError(t, err)
			assert.Equal(t, test.hub, in.Hub)
			assert.Equal(t, test.method, in.Method)
			assert.Equal(t, test.arguments, string(in.Arguments))
			assert.Equal(t, test.state, string(in.State))
			assert.Equal(t, test.id, in.ID)
		})
	}
}

var invalidInvocations = map[string]string{
	"no text":                      "",
	"no object":                    `["h","m"]`,
	"no JSON":                      `{"H":"h","M":"m","A":[],"I":1`,
	"an unquoted text":             `{"H":h,"M":"m","A":[],"I":1}`,
	"something behind the object":  `{"H":"h","M":"m","A":[],"I":1}{}`,
	"no UTF-8":                     "{\"H\":\"\xff\",\"M\":\"m\",\"A\":[],\"I\":1}",
	"a hub that is no text":        `{"H":1,"M":"m","A":[],"I":1}`,
	"a method that is no text":     `{"H":"h","M":["m"],"A":[],"I":1}`,
	"arguments that are no array":  `{"H":"h","M":"m","A":{"0":1},"I":1}`,
	"arguments that are a text":    `{"H":"h","M":"m","A":"[]","I":1}`,
	"arguments that are a number":  `{"H":"h","M":"m","A":0,"I":1}`,
	"an id that is too long":       `{"H":"h","M":"m","A":[],"I":"` + strings.Repeat("x", 257) + `"}`,
	"a number as id, too long":     `{"H":"h","M":"m","A":[],"I":` + strings.Repeat("1", 257) + `}`,
	"an id with a separator":       `{"H":"h","M":"m","A":[],"I":"\u001e"}`,
	"arguments that nest too deep": `{"H":"h","M":"m","A":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `,"I":1}`,
	"an id with another separator": `{"H":"h","M":"m","A":[],"I":"1\u001f"}`,
}

func TestParseInvocationRefuses(t *testing.T) {
	for name, text := range invalidInvocations {
		t.Run(name, func(t *testing.T) {
			in, err := classic.ParseInvocation([]byte(text))
			require.Error(t, err)
			require.Zero(t, in)
			require.NotErrorIs(t, err, classic.ErrState)
		})
	}
}

// The limit is that of the text as it was written, blanks and escapes included.
func TestTheStateOfACallIsLimited(t *testing.T) {
	call := func(state string) []byte { return []byte(`{"H":"h","M":"m","A":[],"I":1,"S":` + state + `}`) }
	fill := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}` }
	in, err := classic.ParseInvocation(call(fill(classic.MaxState)))
	require.NoError(t, err)
	require.Len(t, in.State, classic.MaxState)
	for _, state := range []string{
		fill(classic.MaxState + 1), `{` + strings.Repeat(" ", classic.MaxState) + `}`, `{"a":"` + strings.Repeat(`\u0061`, classic.MaxState/6) + `"}`,
	} {
		_, err = classic.ParseInvocation(call(state))
		require.ErrorIs(t, err, classic.ErrState)
		require.ErrorContains(t, err, "4096")
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"blanks", " \t\r\n", nil},
		{"no hubs", "[]", []string{}},
		{"of the client in JavaScript", `[{"name":"chathub"},{"name":"other"}]`, []string{"chathub", "other"}},
		{"of the client in .NET", `[{"Name":"ChatHub"}]`, []string{"ChatHub"}},
		{"in capitals", `[{"NAME":"ChatHub"}]`, []string{"ChatHub"}},
		{"with other members", `[{"x":{"name":"no"},"name":"a","y":[1]}]`, []string{"a"}},
		{"with blanks", " [ { \"name\" : \"a\" } ,\n{ \"name\":\"b\" } ] ", []string{"a", "b"}},
		{"without quotes around keys", `[{name:"a"},{Name:"b"}]`, []string{"a", "b"}},
		{"without quotes around odd keys", `[{$x_1:null,_:true,a0:false,name:"a"}]`, []string{"a"}},
		{"in single quotes", `[{'name':'a'},{name:'b'}]`, []string{"a", "b"}},
		{"with quotes of one kind within the other", `[{'name':'a"b'},{"name":"c'd"}]`, []string{`a"b`, "c'd"}},
		{"with escapes", `[{"name":"\u0061\"\\"},{'name':'b\'\\'}]`, []string{`a"\`, `b'\`}},
		{"with brackets in a name", `[{"name":"]}{["},{'name':'name:x'}]`, []string{"]}{[", "name:x"}},
		{"in other scripts", `[{"name":"чат"},{'name':'é😀'}]`, []string{"чат", "é😀"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			names, err := classic.Names(test.text)
			require.NoError(t, err)
			require.Equal(t, test.want, names)
		})
	}
}

func TestNamesRefuses(t *testing.T) {
	for _, text := range []string{
		`{`, `{}`, `{"name":"a"}`, `"a"`, `1`, `[`, `[{]`, `[{"name":"a"}`, `[{"name":"a"},]x`, `["a"]`, `[1]`, `[{"name":1}]`, `[{"name":{}}]`, `[{"name":'a"}]`,
		`[{"name":"a'}]`, `[{name a}]`, `[{"name":"a"}][]`, `[{"name":"a\`, `[{'name':'\`, `'`, `"`, `[{"name":"\x"}]`,
	} {
		_, err := classic.Names(text)
		assert.ErrorContains(t, err, "connectionData is no list of hubs", "%s", text)
	}
}

func TestAHubCannotBeListedTwice(t *testing.T) {
	for _, text := range []string{
		`[{"name":"a"},{"name":"a"}]`, `[{"name":"chatHub"},{"name":"b"},{"Name":"CHATHUB"}]`, `[{"name":""},{}]`, `[{"name":"É"},{'name':'é'}]`,
	} {
		_, err := classic.Names(text)
		assert.ErrorContains(t, err, "twice", "%s", text)
	}
}
