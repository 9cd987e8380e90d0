package hubproto

import (
	"bytes"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// errJSON is the error for everything that is not JSON, as in the reference, whatever is wrong with it.
var errJSON = &DataError{Text: "Error reading JSON."}

// objectScanner reads the properties of one JSON object. Everything that it reads is checked to be JSON in UTF-8 of limited
// depth. What follows the object must be UTF-8, and is not checked otherwise (docs/protocol.md, 4.3).
type objectScanner struct {
	b     []byte
	i     int
	first bool
	key   []byte                    // as written, without its quotes
	value []byte                    // as written
	plain struct{ key, value bool } // the key, and the value if it is a string, contain no escapes
	err   error
}

// scanObject begins to read the object in a record.
func scanObject(record []byte) (objectScanner, error) {
	s := objectScanner{b: record, first: true}
	if !utf8.Valid(record) {
		return s, errJSON
	}
	i := skipSpace(record, 0)
	if i == len(record) {
		return s, errJSON
	}
	if record[i] != '{' {
		if skipValue(record, i, 0) < 0 && record[i] != '[' {
			return s, errJSON
		}
		return s, dataErrorf("Unexpected JSON Token Type '%s'. Expected a JSON Object.", tokenName(record[i]))
	}
	s.i = i + 1
	return s, nil
}

func tokenName(c byte) string {
	switch c {
	case '[':
		return "Array"
	case '"':
		return "String"
	case 't':
		return "True"
	case 'f':
		return "False"
	case 'n':
		return "Null"
	}
	return "Number"
}

// next reads the next property. It returns false at the end of the object, and if it fails with s.err.
func (s *objectScanner) next() bool {
	if s.err != nil {
		return false
	}
	i := skipSpace(s.b, s.i)
	if i < len(s.b) && s.b[i] == '}' && (s.first || s.key != nil) {
		s.i = i
		return false
	}
	if !s.first {
		if i >= len(s.b) || s.b[i] != ',' {
			return s.fail()
		}
		i = skipSpace(s.b, i+1)
	}
	s.first = false
	if i >= len(s.b) || s.b[i] != '"' {
		return s.fail()
	}
	end, plain := skipText(s.b, i)
	if end < 0 {
		return s.fail()
	}
	s.key, s.plain.key = s.b[i+1:end-1], plain
	i = skipSpace(s.b, end)
	if i >= len(s.b) || s.b[i] != ':' {
		return s.fail()
	}
	i = skipSpace(s.b, i+1)
	if i < len(s.b) && s.b[i] == '"' {
		end, s.plain.value = skipText(s.b, i)
	} else {
		end = skipValue(s.b, i, 1)
	}
	if end < 0 {
		return s.fail()
	}
	s.value, s.i = s.b[i:end], end
	return true
}

func (s *objectScanner) fail() bool {
	s.err = errJSON
	return false
}

// name returns the name of the property without escapes.
func (s *objectScanner) name() []byte {
	if s.plain.key {
		return s.key
	}
	text, ok := unescape(s.key)
	if !ok {
		s.err = errJSON
	}
	return text
}

func (s *objectScanner) isNull() bool { return s.value[0] == 'n' }

// text returns the value of a string, and false if the value is something else.
func (s *objectScanner) text() ([]byte, bool) {
	if s.value[0] != '"' {
		return nil, false
	}
	text := s.value[1 : len(s.value)-1]
	if s.plain.value {
		return text, true
	}
	text, ok := unescape(text)
	if !ok {
		s.err = errJSON
	}
	return text, true
}

// integer returns the value of a number without a fraction or an exponent.
func (s *objectScanner) integer(name string, lowest, highest int64) (int64, error) {
	if c := s.value[0]; c != '-' && (c < '0' || c > '9') {
		return 0, dataErrorf("Expected '%s' to be of type Number.", name)
	}
	n, ok := parseInt(s.value)
	if !ok || n < lowest || n > highest {
		bits := 64
		if highest < 1<<32 {
			bits = 32
		}
		return 0, dataErrorf("Either the JSON value is not in a supported format, or is out of bounds for an Int%d.", bits)
	}
	return n, nil
}

// parseInt reads a JSON number that is an int64.
func parseInt(b []byte) (int64, bool) {
	digits := bytes.TrimPrefix(b, []byte{'-'})
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if len(digits) < len(b) {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index behind the JSON value that begins at i, or -1 if there is none. depth counts what the value is nested in.
func skipValue(b []byte, i, depth int) int {
	var objects uint64 // bit d: what was opened d levels down is an object
	level := 0
	key := false
	for {
		i = skipSpace(b, i)
		if i >= len(b) {
			return -1
		}
		if key {
			if b[i] != '"' {
				return -1
			}
			if i = skipString(b, i); i < 0 {
				return -1
			}
			if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
				return -1
			}
			i, key = i+1, false
			continue
		}
		switch c := b[i]; c {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			if depth+level == MaxDepth {
				return -1
			}
			object := c == '{'
			bit := uint64(1) << level
			if objects &^= bit; object {
				objects |= bit
			}
			level++
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == c+2 { // the closing bracket of either kind stands two behind its opening one
				break
			}
			key = object
			continue
		default:
			i = skipScalar(b, i)
		}
		if i < 0 {
			return -1
		}
		// Behind a value: close what ends here, or go on to the next element.
		for level > 0 {
			i = skipSpace(b, i)
			if i >= len(b) {
				return -1
			}
			object := objects&(1<<(level-1)) != 0
			if b[i] == ',' {
				i, key = i+1, object
				break
			}
			if object && b[i] != '}' || !object && b[i] != ']' {
				return -1
			}
			i++
			level--
		}
		if level == 0 {
			return i
		}
	}
}

// skipString returns the index behind the string that begins at i, or -1.
func skipString(b []byte, i int) int {
	end, _ := skipText(b, i)
	return end
}

// skipText is skipString, and reports whether the string contains no escapes.
func skipText(b []byte, i int) (end int, plain bool) {
	plain = true
	for j := i + 1 + plainPrefix(b[i+1:]); j < len(b); j++ {
		switch c := b[j]; {
		case c == '"':
			return j + 1, plain
		case c < ' ':
			return -1, false
		case c == '\\':
			plain = false
			if j++; j >= len(b) {
				return -1, false
			}
			switch b[j] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := hex4(b, j+1); !ok {
					return -1, false
				}
				j += 4
			default:
				return -1, false
			}
		}
	}
	return -1, false
}

// skipScalar returns the index behind true, false, null or a number, or -1.
func skipScalar(b []byte, i int) int {
	if b[i] >= 'f' {
		for _, word := range [...]string{"true", "false", "null"} {
			if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
				return i + len(word)
			}
		}
		return -1
	}
	digits := func() bool {
		from := i
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		if i++; i < len(b) && '0' <= b[i] && b[i] <= '9' {
			return -1
		}
	} else if !digits() {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}

func hex4(b []byte, i int) (rune, bool) {
	if len(b)-i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape returns the text of a checked JSON string between its quotes, and false if it contains half of a surrogate pair.
func unescape(b []byte) ([]byte, bool) {
	i := bytes.IndexByte(b, '\\')
	if i < 0 {
		return b, true
	}
	out := append(make([]byte, 0, len(b)), b[:i]...)
	for i < len(b) {
		if b[i] != '\\' {
			out = append(out, b[i])
			i++
			continue
		}
		if b[i+1] != 'u' {
			out = append(out, unescaped(b[i+1]))
			i += 2
			continue
		}
		r, _ := hex4(b, i+2)
		i += 6
		if utf16.IsSurrogate(r) {
			if len(b)-i < 6 || b[i] != '\\' || b[i+1] != 'u' {
				return nil, false
			}
			low, _ := hex4(b, i+2)
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return nil, false
			}
			i += 6
		}
		out = utf8.AppendRune(out, r)
	}
	return out, true
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

const hexDigits = "0123456789abcdef"

// appendString appends text as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := plainPrefix(text); i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, text[from:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, text[from:i]...), `\ufffd`...)
			from = i + 1
		} else if r == 0x2028 || r == 0x2029 { // line ends in JavaScript
			dst = append(append(dst, text[from:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&15])
			from = i + size
		}
		i += size
	}
	dst = append(dst, text[from:]...)
	return append(dst, '"')
}

// plainPrefix returns the length of a part of text, from its start, in which nothing is to be escaped. It looks at eight bytes at a time, and stops
// at the first byte that is to be escaped or is not ASCII, or where less than eight are left. It takes a fifth of the time of a look at each byte.
func plainPrefix[T string | []byte](text T) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	rest := text
	for ; len(rest) >= 8; rest = rest[8:] {
		w := uint64(rest[0]) | uint64(rest[1])<<8 | uint64(rest[2])<<16 | uint64(rest[3])<<24 |
			uint64(rest[4])<<32 | uint64(rest[5])<<40 | uint64(rest[6])<<48 | uint64(rest[7])<<56
		// A subtraction sets the top bit of the first byte that is less than what is taken off, and perhaps of bytes behind it.
		controls, quotes, backslashes := w-' '*ones, (w^'"'*ones)-ones, (w^'\\'*ones)-ones
		if found := (w | controls | quotes | backslashes) & tops; found != 0 {
			return len(text) - len(rest) + bits.TrailingZeros64(found)/8
		}
	}
	return len(text) - len(rest)
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// splitElements cuts a checked JSON array into its elements, as many as into has room for, and returns how many there are.
func splitElements(array []byte, into [][]byte) int {
	n := 0
	i := skipSpace(array, 1)
	for i < len(array)-1 {
		end := skipChecked(array, i)
		if n < len(into) {
			into[n] = array[i:end]
		}
		n++
		i = skipSpace(array, end)
		if array[i] == ',' {
			i = skipSpace(array, i+1)
		}
	}
	return n
}

// skipChecked is skipValue for bytes that have been checked to be JSON.
func skipChecked(b []byte, i int) int {
	level := 0
	for ; ; i++ {
		switch b[i] {
		case '"':
			for i += 1 + plainPrefix(b[i+1:]); b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			level++
			continue
		case '}', ']':
			level--
		case ',', ':', ' ', '\t', '\n', '\r':
			continue
		default:
			for i+1 < len(b) && bytes.IndexByte([]byte(",]} \t\n\r"), b[i+1]) < 0 {
				i++
			}
		}
		if level == 0 {
			return i + 1
		}
	}
}
