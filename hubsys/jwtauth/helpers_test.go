package jwtauth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/jwtauth"
)

const (
	issuer   = "https://login.example"
	audience = "chat"
)

var secret = []byte("a secret of the tests, of 40 bytes or so")

// testKeys are private keys, which take a while to make.
var testKeys = sync.OnceValue(func() (k struct {
	rsa     *rsa.PrivateKey
	other   *rsa.PrivateKey
	ecdsa   *ecdsa.PrivateKey
	ed25519 ed25519.PrivateKey
}) {
	var errs [4]error
	k.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.other, errs[1] = rsa.GenerateKey(rand.Reader, 2048)
	k.ecdsa, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, k.ed25519, errs[3] = ed25519.GenerateKey(rand.Reader)
	for _, err := range errs {
		if err != nil {
			panic(err)
		}
	}
	return k
})

// claims returns the claims of a valid token, with changes. A nil value removes a claim.
func claims(changes jwt.MapClaims) jwt.MapClaims {
	all := jwt.MapClaims{"iss": issuer, "aud": audience, "sub": "ada", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

func sign(t testing.TB, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, c).SignedString(key)
	require.NoError(t, err)
	return token
}

// hs256 returns a token that is signed with secret.
func hs256(t testing.TB, changes jwt.MapClaims) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, secret, claims(changes))
}

// secretConfig is a valid configuration for tokens of hs256.
func secretConfig() jwtauth.Config {
	return jwtauth.Config{Secret: secret, Algorithms: []string{"HS256"}, Issuer: issuer, Audience: []string{audience}}
}

func newAuth(t testing.TB, config jwtauth.Config) *jwtauth.Authenticator {
	t.Helper()
	auth, err := jwtauth.New(config)
	require.NoError(t, err)
	return auth
}

func requestWith(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/chat/negotiate", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// requireAccepted requires that a token is valid, and returns its principal.
func requireAccepted(t testing.TB, auth *jwtauth.Authenticator, token string, what ...any) *hubsys.Principal {
	t.Helper()
	p, err := auth.Authenticate(requestWith(token))
	require.NoError(t, err, what...)
	require.NotNil(t, p, what...)
	require.True(t, p.Authenticated())
	return p
}

// requireRefused requires that a token is refused, and not with status 403.
func requireRefused(t testing.TB, auth *jwtauth.Authenticator, token string, what ...any) error {
	t.Helper()
	p, err := auth.Authenticate(requestWith(token))
	require.Error(t, err, what...)
	require.Nil(t, p, what...)
	require.NotErrorIs(t, err, hubsys.ErrForbidden, what...)
	return err
}
