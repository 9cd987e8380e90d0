package classic

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// KeySize is the size of a key.
const KeySize = 32

// Keys protect the tokens of sessions and groups: AES-256-GCM, with keys that are derived for each purpose. The first one protects, all of them
// unprotect, so that keys can be changed.
type Keys struct{ purposes map[string][]cipher.AEAD }

// Purposes of tokens. A token of one is none of the other.
const (
	connectionPurpose = "troupe classic connection 1"
	groupsPurpose     = "troupe classic groups 1"
)

// NewKeys returns the keys that are derived from secrets, which have KeySize bytes each.
func NewKeys(secrets ...[]byte) (*Keys, error) {
	if len(secrets) == 0 {
		return nil, errors.New("there is no key")
	}
	k := &Keys{map[string][]cipher.AEAD{}}
	for i, secret := range secrets {
		if len(secret) != KeySize {
			return nil, fmt.Errorf("key %d has %d bytes, not %d", i, len(secret), KeySize)
		}
		for _, purpose := range []string{connectionPurpose, groupsPurpose} {
			derived, err := hkdf.Key(sha256.New, secret, nil, purpose, KeySize)
			if err != nil {
				return nil, err
			}
			block, err := aes.NewCipher(derived)
			if err != nil {
				return nil, err
			}
			aead, err := cipher.NewGCMWithRandomNonce(block)
			if err != nil {
				return nil, err
			}
			k.purposes[purpose] = append(k.purposes[purpose], aead)
		}
	}
	return k, nil
}

const tokenVersion = 1

func (k *Keys) protect(purpose, text string) string {
	sealed := k.purposes[purpose][0].Seal([]byte{tokenVersion}, nil, []byte(text), []byte(purpose))
	return base64.StdEncoding.EncodeToString(sealed)
}

var errToken = errors.New("a token is not valid")

func (k *Keys) unprotect(purpose, token string) (string, error) {
	sealed, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(sealed) == 0 || sealed[0] != tokenVersion {
		return "", errToken
	}
	for _, aead := range k.purposes[purpose] {
		if text, err := aead.Open(nil, nil, sealed[1:], []byte(purpose)); err == nil {
			return string(text), nil
		}
	}
	return "", errToken
}

// newID returns the id of a session, in the form of a GUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // does not fail
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func newEpoch() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}

// seconds is a time in seconds, with a fraction always.
type seconds float64

// MarshalJSON is part of json.Marshaler.
func (s seconds) MarshalJSON() ([]byte, error) {
	text := strconv.AppendFloat(nil, float64(s), 'f', -1, 64)
	for _, c := range text {
		if c == '.' {
			return text, nil
		}
	}
	return append(text, ".0"...), nil
}
