package hubproto

import (
	"bytes"
	"strconv"
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
