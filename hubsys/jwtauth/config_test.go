package jwtauth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/jwtauth"
)

func TestTheZeroConfigReportsAllFaults(t *testing.T) {
	want := `jwtauth: Config: one of Secret, PublicKey and Keyfunc is required, not 0 of them
Algorithms is empty: it lists those that tokens may be signed with
Issuer is empty: jwtauth.Any accepts all
Audience is empty: jwtauth.Any accepts all`
	require.EqualError(t, jwtauth.Config{}.Validate(), want)
	auth, err := jwtauth.New(jwtauth.Config{})
	require.EqualError(t, err, want)
	require.Nil(t, auth)
}

func TestWrongConfigs(t *testing.T) {
	keys := testKeys()
	keyfunc := func(*jwt.Token) (any, error) { return secret, nil }
	var noRSA *rsa.PublicKey
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for name, test := range map[string]struct {
		change func(c *jwtauth.Config)
		want   string
	}{
		"a secret and a public key":   {func(c *jwtauth.Config) { c.PublicKey = &keys.rsa.PublicKey }, "one of Secret, PublicKey and Keyfunc is required, not 2 of them\nAlgorithms has \"HS256\", which a PublicKey of type *rsa.PublicKey is not for"},
		"a secret and a function":     {func(c *jwtauth.Config) { c.Keyfunc = keyfunc }, "one of Secret, PublicKey and Keyfunc is required, not 2 of them"},
		"a short secret":              {func(c *jwtauth.Config) { c.Secret = secret[:31] }, "Secret has 31 bytes: it has at least 32"},
		"a number alone":              {func(c *jwtauth.Config) { c.Leeway = 30 }, "Leeway is 30ns: a number alone means nanoseconds; write 15*time.Second"},
		"an empty secret":             {func(c *jwtauth.Config) { c.Secret = []byte{} }, "Secret has 0 bytes: it has at least 32"},
		"none":                        {func(c *jwtauth.Config) { c.Algorithms = []string{"none"} }, `Algorithms has "none", which is unknown or not allowed` + "\n" + `Algorithms has "none", which needs a public key, and there is a Secret`},
		"none beside another":         {func(c *jwtauth.Config) { c.Secret, c.Keyfunc, c.Algorithms = nil, keyfunc, []string{"RS256", "none"} }, `Algorithms has "none", which is unknown or not allowed`},
		"an unknown algorithm":        {func(c *jwtauth.Config) { c.Algorithms = []string{"HS256", "HS1"} }, "Algorithms has \"HS1\", which is unknown or not allowed\nAlgorithms has HMAC algorithms together with others: a public key could be used as a secret"},
		"an algorithm in lower case":  {func(c *jwtauth.Config) { c.Algorithms = []string{"hs256"} }, `Algorithms has "hs256", which is unknown or not allowed`},
		"an algorithm of public keys": {func(c *jwtauth.Config) { c.Algorithms = []string{"RS256"} }, `Algorithms has "RS256", which needs a public key, and there is a Secret`},
		"HMAC together with RSA":      {func(c *jwtauth.Config) { c.Secret, c.Keyfunc, c.Algorithms = nil, keyfunc, []string{"RS256", "HS256"} }, "Algorithms has HMAC algorithms together with others: a public key could be used as a secret"},
		"an empty list of algorithms": {func(c *jwtauth.Config) { c.Algorithms = []string{} }, "Algorithms is empty: it lists those that tokens may be signed with"},
		"a key of another algorithm": {func(c *jwtauth.Config) {
			c.Secret, c.PublicKey, c.Algorithms = nil, &keys.rsa.PublicKey, []string{"RS256", "ES256"}
		}, `Algorithms has "ES256", which a PublicKey of type *rsa.PublicKey is not for`},
		"an ECDSA key for Ed25519": {func(c *jwtauth.Config) {
			c.Secret, c.PublicKey, c.Algorithms = nil, &keys.ecdsa.PublicKey, []string{"EdDSA"}
		}, `Algorithms has "EdDSA", which a PublicKey of type *ecdsa.PublicKey is not for`},
		"a P-384 key for ES256": {func(c *jwtauth.Config) {
			c.Secret, c.PublicKey, c.Algorithms = nil, &p384.PublicKey, []string{"ES384", "ES256"}
		}, `Algorithms has "ES256", which a PublicKey of type *ecdsa.PublicKey is not for`},
		"a P-256 key for ES384": {func(c *jwtauth.Config) {
			c.Secret, c.PublicKey, c.Algorithms = nil, &keys.ecdsa.PublicKey, []string{"ES384"}
		}, `Algorithms has "ES384", which a PublicKey of type *ecdsa.PublicKey is not for`},
		"a public key that is a value": {func(c *jwtauth.Config) {
			c.Secret, c.PublicKey, c.Algorithms = nil, keys.rsa.PublicKey, []string{"RS256"}
		}, `Algorithms has "RS256", which a PublicKey of type rsa.PublicKey is not for`},
		"a private key":            {func(c *jwtauth.Config) { c.Secret, c.PublicKey, c.Algorithms = nil, keys.rsa, []string{"PS256"} }, `Algorithms has "PS256", which a PublicKey of type *rsa.PrivateKey is not for`},
		"a public key that is nil": {func(c *jwtauth.Config) { c.Secret, c.PublicKey, c.Algorithms = nil, noRSA, []string{"RS256"} }, `Algorithms has "RS256", which a PublicKey of type *rsa.PublicKey is not for`},
		"a short Ed25519 key": {func(c *jwtauth.Config) {
			c.Secret, c.PublicKey, c.Algorithms = nil, ed25519.PublicKey("short"), []string{"EdDSA"}
		}, `Algorithms has "EdDSA", which a PublicKey of type ed25519.PublicKey is not for`},
		"a public key for HMAC":         {func(c *jwtauth.Config) { c.Secret, c.PublicKey = nil, ed25519.PublicKey(secret[:32]) }, `Algorithms has "HS256", which a PublicKey of type ed25519.PublicKey is not for`},
		"no issuer":                     {func(c *jwtauth.Config) { c.Issuer = "" }, "Issuer is empty: jwtauth.Any accepts all"},
		"no audience":                   {func(c *jwtauth.Config) { c.Audience = []string{} }, "Audience is empty: jwtauth.Any accepts all"},
		"an empty audience":             {func(c *jwtauth.Config) { c.Audience = []string{"chat", ""} }, "Audience has an empty element"},
		"an empty audience beside any":  {func(c *jwtauth.Config) { c.Audience = []string{jwtauth.Any, ""} }, "Audience has an empty element"},
		"a leeway that is negative":     {func(c *jwtauth.Config) { c.Leeway = -time.Second }, "Leeway is -1s: it is not negative"},
		"no key, in an otherwise valid": {func(c *jwtauth.Config) { c.Secret = nil }, "one of Secret, PublicKey and Keyfunc is required, not 0 of them"},
	} {
		t.Run(name, func(t *testing.T) {
			config := secretConfig()
			test.change(&config)
			require.EqualError(t, config.Validate(), "jwtauth: Config: "+test.want)
			_, err := jwtauth.New(config)
			require.EqualError(t, err, "jwtauth: Config: "+test.want)
		})
	}
}

func TestValidConfigs(t *testing.T) {
	keys := testKeys()
	public := func(key any, algorithms ...string) jwtauth.Config {
		return jwtauth.Config{PublicKey: key, Algorithms: algorithms, Issuer: jwtauth.Any, Audience: []string{jwtauth.Any}}
	}
	for _, config := range []jwtauth.Config{
		secretConfig(),
		{Secret: secret[:32], Algorithms: []string{"HS256", "HS384", "HS512"}, Issuer: jwtauth.Any, Audience: []string{"a", "b"}},
		public(&keys.rsa.PublicKey, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
		public(&keys.ecdsa.PublicKey, "ES256"),
		public(keys.ed25519.Public(), "EdDSA"),
		{Keyfunc: func(*jwt.Token) (any, error) { return nil, nil }, Algorithms: []string{"RS256", "ES256", "EdDSA"}, Issuer: issuer, Audience: []string{audience}},
	} {
		require.NoError(t, config.Validate())
		_, err := jwtauth.New(config)
		require.NoError(t, err)
	}
}
