package classic

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var validCallbacks = []string{
	"a", "Z", "_", "$", "foo", "foo1", "$1", "_1", "$.a", "a.b.c", "a.$._", "jQuery21406718_1580000000000", "jQuery.signalR.callback", "window.foo", "this1", "iff", "$this", "_function",
	"Function", "IF", "nan", "infinity", "Undefined", "é", "чат.ответ", "名前", "ª", "a\u0663", "undefinedX", strings.Repeat("a", 256),
}

var invalidCallbacks = []string{
	"", ".", "a.", ".a", "a..b", "1", "1a", "a.1", "a b", " a", "a ", "a\n", "\na", "a\t", "a-b", "a+b", "a()", "a(1)", "alert(1)//", "a;b", "a,b", "a[0]", "a['b']", `a"b`, "a'b", "a/b",
	"<script>", "a<b", "a&b", "a=b", "a\\u0061", "a\x00", "\ufeffa", "a\u200db", "a\u2028", "a\u00a0", "-a", "@a", "a#", "a:b", "a{b", "a\u0301", "😀", "\xff", "a\xff", "a.\xff",
	"if", "function", "this", "null", "true", "false", "NaN", "Infinity", "undefined", "new", "delete", "typeof", "void", "with", "class", "enum", "super", "import", "export", "var", "while",
	"a.if", "if.a", "a.function.b", "window.NaN", "a.undefined", strings.Repeat("a", 257),
}

func TestCallbacks(t *testing.T) {
	for _, name := range validCallbacks {
		assert.True(t, isCallback(name), "%q", name)
	}
	for _, name := range invalidCallbacks {
		assert.False(t, isCallback(name), "%q", name)
	}
	for _, word := range reservedWords {
		assert.False(t, isCallback(word) || isCallback("a."+word) || isCallback(word+".a"), word)
		assert.True(t, isCallback(word+"_") || isCallback("$"+word), word)
	}
}

// What is accepted has nothing but identifiers and dots, so that it does no more than to name a function.
func FuzzCallback(f *testing.F) {
	for _, name := range slices.Concat(validCallbacks, invalidCallbacks) {
		f.Add(name)
	}
	harmless := regexp.MustCompile(`^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$`)
	f.Fuzz(func(t *testing.T, name string) {
		parts := strings.Split(name, ".")
		reserved := slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(reservedWords, part) })
		if !isCallback(name) {
			require.True(t, reserved || len(name) > 256 || !harmless.MatchString(name), "%q is a name", name)
			return
		}
		require.False(t, reserved)
		require.True(t, utf8.ValidString(name) && len(name) <= 256)
		for _, part := range parts {
			require.NotEmpty(t, part)
			for i, r := range part {
				require.True(t, r == '$' || r == '_' || unicode.IsLetter(r) || i > 0 && unicode.IsDigit(r), "%q", name)
			}
		}
	})
}
