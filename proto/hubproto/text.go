package hubproto

import (
	"bytes"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

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
