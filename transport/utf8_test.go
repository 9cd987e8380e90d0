package transport

import (
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// validInPieces reports whether the pieces are valid UTF-8 together.
func validInPieces(pieces [][]byte) bool {
	var check utf8Check
	for _, piece := range pieces {
		if !check.add(piece) {
			return false
		}
	}
	return check.n == 0
}

// characters are valid and invalid encodings of characters.
var characters = []string{
	"a", "\x00", "\x7f", "ä", "€", "\ufeff", "\uffff", "😀", "\U0010ffff",
	"\x80", "\xbf", "\xc0\xaf", "\xc1", "\xc2", "\xe0\x80\xaf", "\xe2\x82", "\xed\xa0\x80", "\xed\x9f\xbf", "\xf0\x80\x80\xaf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5", "\xfe", "\xff",
}

func TestUTF8IsCheckedInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		for _, c := range rapid.SliceOf(rapid.SampledFrom(characters)).Draw(t, "characters") {
			text = append(text, c...)
		}
		text = append(text, rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "bytes")...)
		var pieces [][]byte
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(0, min(6, len(rest))).Draw(t, "piece")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if got, want := validInPieces(pieces), utf8.Valid(text); got != want {
			t.Fatalf("%q is valid: %v, and as %q: %v", text, want, pieces, got)
		}
	})
}

// This covers all texts of up to four bytes, each of which represents a class, split in every way.
func TestUTF8OfShortTextsIsCheckedInPieces(t *testing.T) {
	classes := []byte{'a', 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff}
	var text [4]byte
	var try func(n int)
	try = func(n int) {
		for cuts := range 1 << max(0, n-1) {
			var pieces [][]byte
			from := 0
			for i := 1; i <= n; i++ {
				if i == n || cuts>>(i-1)&1 == 1 {
					pieces, from = append(pieces, text[from:i]), i
				}
			}
			if got, want := validInPieces(pieces), utf8.Valid(text[:n]); got != want {
				t.Fatalf("%q is valid: %v, and as %q: %v", text[:n], want, pieces, got)
			}
		}
		if n < len(text) {
			for _, class := range classes {
				text[n] = class
				try(n + 1)
			}
		}
	}
	try(0)
}
