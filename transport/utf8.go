package transport

import "unicode/utf8"

// utf8Check checks a text that arrives in pieces.
type utf8Check struct {
	part [utf8.UTFMax]byte // a character that has not arrived whole
	n    int
}

func (u *utf8Check) add(p []byte) bool {
	for u.n > 0 && len(p) > 0 {
		u.part[u.n] = p[0]
		u.n++
		p = p[1:]
		if utf8.FullRune(u.part[:u.n]) {
			if r, size := utf8.DecodeRune(u.part[:u.n]); r == utf8.RuneError && size <= 1 {
				return false
			}
			u.n = 0
		}
	}
	if utf8.Valid(p) {
		return true
	}
	for i := len(p) - 1; i >= max(0, len(p)-utf8.UTFMax+1); i-- {
		if utf8.RuneStart(p[i]) {
			if utf8.FullRune(p[i:]) || !utf8.Valid(p[:i]) {
				return false
			}
			u.n = copy(u.part[:], p[i:])
			return true
		}
	}
	return false
}
