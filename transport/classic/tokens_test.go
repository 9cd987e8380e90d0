package classic

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secret returns a key whose bytes are all the same.
func secret(b byte) []byte { return bytes.Repeat([]byte{b}, KeySize) }

func newKeys(t testing.TB, secrets ...[]byte) *Keys {
	t.Helper()
	k, err := NewKeys(secrets...)
	require.NoError(t, err)
	return k
}

var purposes = []string{connectionPurpose, groupsPurpose}

func TestATokenHoldsItsText(t *testing.T) {
	k := newKeys(t, secret(1))
	for _, purpose := range purposes {
		for _, text := range []string{"", "id:", "id:a:b:c", `id:["Hub.group"]`, "\x00\xff", "é😀", strings.Repeat("x", 100_000)} {
			token := k.protect(purpose, text)
			_, err := base64.StdEncoding.Strict().DecodeString(token)
			require.NoError(t, err, "it is standard base64 with padding")
			require.NotContains(t, token, "id:")
			got, err := k.unprotect(purpose, token)
			require.NoError(t, err)
			require.Equal(t, text, got)
			require.NotEqual(t, token, k.protect(purpose, text), "no two tokens are the same")
		}
	}
}

func TestATokenOfOnePurposeIsNoneOfTheOther(t *testing.T) {
	k := newKeys(t, secret(1))
	for i, purpose := range purposes {
		_, err := k.unprotect(purposes[1-i], k.protect(purpose, "id:"))
		require.ErrorIs(t, err, errToken)
	}
}

func TestKeysCanBeChanged(t *testing.T) {
	old, both, fresh := newKeys(t, secret(1)), newKeys(t, secret(2), secret(1)), newKeys(t, secret(2))
	for _, purpose := range purposes {
		of := func(k *Keys) string { return k.protect(purpose, "id:ada") }
		for _, test := range []struct {
			name  string
			by    *Keys
			token string
			valid bool
		}{
			{"the old key alone", old, of(old), true},
			{"both keys, of the old one", both, of(old), true},
			{"both keys, of themselves", both, of(both), true},
			{"the new key, of both", fresh, of(both), true}, // the first one protects
			{"the old key, of both", old, of(both), false},
			{"the new key, of the old one", fresh, of(old), false},
			{"the old key, of the new one", old, of(fresh), false},
		} {
			text, err := test.by.unprotect(purpose, test.token)
			if test.valid {
				require.NoError(t, err, test.name)
				require.Equal(t, "id:ada", text)
			} else {
				require.ErrorIs(t, err, errToken, test.name)
				require.Empty(t, text)
			}
		}
	}
}

// The keys of another server that was given the same secret are the same.
func TestKeysDependOnTheirSecretsAlone(t *testing.T) {
	text, err := newKeys(t, secret(7)).unprotect(groupsPurpose, newKeys(t, secret(7)).protect(groupsPurpose, "x"))
	require.NoError(t, err)
	require.Equal(t, "x", text)
}

func TestATokenThatWasChangedIsNone(t *testing.T) {
	k := newKeys(t, secret(1))
	token := k.protect(connectionPurpose, "id:ada")
	sealed, err := base64.StdEncoding.DecodeString(token)
	require.NoError(t, err)
	encode := base64.StdEncoding.EncodeToString
	for i := range sealed {
		for bit := range 8 {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1 << bit
			_, err := k.unprotect(connectionPurpose, encode(changed))
			require.ErrorIs(t, err, errToken, "byte %d, bit %d", i, bit)
		}
	}
	for n := range sealed {
		_, err := k.unprotect(connectionPurpose, encode(sealed[:n]))
		require.ErrorIs(t, err, errToken, "cut to %d bytes", n)
	}
	for _, other := range []string{
		"", " ", "=", "x", "AQ==", "AA==", token + "A", token + "AAAA", "A" + token, token[:len(token)-1], encode(append(bytes.Clone(sealed), 0)), encode(sealed[1:]),
		strings.TrimRight(token, "=") + "%3D", base64.RawStdEncoding.EncodeToString(append(bytes.Clone(sealed), 0, 0)), encode(bytes.Repeat(sealed, 2)), strings.Repeat("A", 100_000),
	} {
		_, err := k.unprotect(connectionPurpose, other)
		require.ErrorIs(t, err, errToken, "%.100q", other)
	}
}

func TestSizesOfKeys(t *testing.T) {
	_, err := NewKeys()
	require.EqualError(t, err, "there is no key")
	for _, size := range []int{0, 1, 16, KeySize - 1, KeySize + 1, 64} {
		_, err = NewKeys(make([]byte, size))
		require.ErrorContains(t, err, "key 0 has", size)
		_, err = NewKeys(secret(1), make([]byte, size))
		require.ErrorContains(t, err, "key 1 has", size)
	}
}

func TestIDsAreGUIDs(t *testing.T) {
	guid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 1000 {
		id := newID()
		require.Regexp(t, guid, id)
		require.False(t, seen[id])
		seen[id] = true
	}
}

func TestEpochsDiffer(t *testing.T) {
	seen := map[uint32]bool{}
	for range 8 {
		seen[newEpoch()] = true
	}
	require.Greater(t, len(seen), 1)
}

// .NET clients read times as numbers with a fraction, and so does the original write them.
func TestSecondsHaveAFraction(t *testing.T) {
	for s, want := range map[seconds]string{
		0: "0.0", 20: "20.0", 110: "110.0", 5: "5.0", 0.5: "0.5", 6.666666666: "6.666666666", 1e-9: "0.000000001", 1e21: "1000000000000000000000.0", 86400: "86400.0",
	} {
		got, err := json.Marshal(s)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

func FuzzToken(f *testing.F) {
	k, other := newKeys(f, secret(1)), newKeys(f, secret(2))
	f.Add("id:ada", "AQ==")
	f.Add("", "")
	f.Add(`id:["Hub.group"]`, k.protect(groupsPurpose, "x"))
	f.Add("id:", other.protect(connectionPurpose, "id:"))
	f.Fuzz(func(t *testing.T, text, foreign string) {
		for i, purpose := range purposes {
			if got, err := k.unprotect(purpose, foreign); err == nil {
				// It is a token that these keys have made, of the corpus.
				require.Equal(t, groupsPurpose, purpose)
				require.Equal(t, "x", got)
			}
			token := k.protect(purpose, text)
			got, err := k.unprotect(purpose, token)
			require.NoError(t, err)
			require.Equal(t, text, got)
			_, err = k.unprotect(purposes[1-i], token)
			require.ErrorIs(t, err, errToken)
			_, err = other.unprotect(purpose, token)
			require.ErrorIs(t, err, errToken)
		}
	})
}
