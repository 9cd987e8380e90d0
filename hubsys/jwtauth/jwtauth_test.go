package jwtauth_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/jwtauth"
)

func TestTokensOfAllAlgorithms(t *testing.T) {
	keys := testKeys()
	for _, test := range []struct {
		algorithm       string
		private, public any
		wrong           any // the private key of somebody else
	}{
		{"HS256", secret, nil, []byte(strings.Repeat("x", 40))},
		{"RS256", keys.rsa, &keys.rsa.PublicKey, keys.other},
		{"PS256", keys.rsa, &keys.rsa.PublicKey, keys.other},
		{"ES256", keys.ecdsa, &keys.ecdsa.PublicKey, nil},
		{"EdDSA", keys.ed25519, keys.ed25519.Public(), nil},
	} {
		t.Run(test.algorithm, func(t *testing.T) {
			config := secretConfig()
			config.Algorithms = []string{test.algorithm}
			if test.public != nil {
				config.Secret, config.PublicKey = nil, test.public
			}
			auth, method := newAuth(t, config), jwt.GetSigningMethod(test.algorithm)
			token := sign(t, method, test.private, claims(nil))
			p := requireAccepted(t, auth, token)
			require.Equal(t, "ada", p.UserID)
			require.Empty(t, p.Roles)
			require.Equal(t, audience, p.Claims["aud"])
			require.Equal(t, issuer, p.Claims["iss"])
			if test.wrong != nil {
				require.ErrorIs(t, requireRefused(t, auth, sign(t, method, test.wrong, claims(nil))), jwt.ErrTokenSignatureInvalid)
			}
			parts := strings.Split(token, ".")
			forged, err := json.Marshal(claims(jwt.MapClaims{"sub": "root"}))
			require.NoError(t, err)
			for _, other := range []string{
				parts[0] + "." + base64.RawURLEncoding.EncodeToString(forged) + "." + parts[2],
				parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[1], token + "x", token + ".x", parts[0], "x", ".", "..", "a.b.c",
			} {
				requireRefused(t, auth, other, other)
			}
		})
	}
}

// A token that is signed with the text of the public key as a secret is refused, whatever form the text has.
func TestPublicKeysAreNoSecrets(t *testing.T) {
	keys := testKeys()
	der, err := x509.MarshalPKIXPublicKey(&keys.rsa.PublicKey)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	config := secretConfig()
	config.Secret, config.PublicKey, config.Algorithms = nil, &keys.rsa.PublicKey, []string{"RS256"}
	auth := newAuth(t, config)
	for _, key := range [][]byte{text, []byte(strings.TrimSpace(string(text))), der, keys.rsa.N.Bytes()} {
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS512} {
			requireRefused(t, auth, sign(t, method, key, claims(nil)))
		}
	}
	requireAccepted(t, auth, sign(t, jwt.SigningMethodRS256, keys.rsa, claims(nil)))
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodRS512, jwt.SigningMethodPS256} { // of the same key
		requireRefused(t, auth, sign(t, method, keys.rsa, claims(nil)), "%s is not in Algorithms", method.Alg())
	}
}

func TestUnsignedTokensAreRefused(t *testing.T) {
	unsigned := sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil))
	keys := testKeys()
	public := secretConfig()
	public.Secret, public.PublicKey, public.Algorithms = nil, &keys.rsa.PublicKey, []string{"RS256"}
	careless := secretConfig()
	careless.Secret, careless.Algorithms = nil, []string{"RS256"}
	careless.Keyfunc = func(*jwt.Token) (any, error) { return jwt.UnsafeAllowNoneSignatureType, nil }
	for name, config := range map[string]jwtauth.Config{"a secret": secretConfig(), "a public key": public, "a careless function": careless} {
		auth := newAuth(t, config)
		requireRefused(t, auth, unsigned, name)
		for _, alg := range []string{"None", "NONE", "nOnE", ""} {
			header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","typ":"JWT"}`))
			_, rest, _ := strings.Cut(unsigned, ".")
			requireRefused(t, auth, header+"."+rest, "%s: %s", name, alg)
		}
	}
}

func TestIssuersAndAudiences(t *testing.T) {
	one := newAuth(t, secretConfig())
	config := secretConfig()
	config.Audience = []string{"chat", "news"}
	several := newAuth(t, config)
	config.Issuer, config.Audience = jwtauth.Any, []string{jwtauth.Any}
	every := newAuth(t, config)
	for _, test := range []struct {
		changes      jwt.MapClaims
		one, several bool
	}{
		{nil, true, true},
		{jwt.MapClaims{"iss": "https://evil.example"}, false, false},
		{jwt.MapClaims{"iss": issuer + "/"}, false, false},
		{jwt.MapClaims{"iss": jwtauth.Any}, false, false},
		{jwt.MapClaims{"iss": ""}, false, false},
		{jwt.MapClaims{"iss": nil}, false, false},
		{jwt.MapClaims{"aud": "other"}, false, false},
		{jwt.MapClaims{"aud": "Chat"}, false, false},
		{jwt.MapClaims{"aud": jwtauth.Any}, false, false},
		{jwt.MapClaims{"aud": ""}, false, false},
		{jwt.MapClaims{"aud": nil}, false, false},
		{jwt.MapClaims{"aud": []string{}}, false, false},
		{jwt.MapClaims{"aud": []string{"chat"}}, true, true},
		{jwt.MapClaims{"aud": []string{"other", "chat"}}, true, true},
		{jwt.MapClaims{"aud": "news"}, false, true},
		{jwt.MapClaims{"aud": []string{"other", "news"}}, false, true},
	} {
		token := hs256(t, test.changes)
		for auth, want := range map[*jwtauth.Authenticator]bool{one: test.one, several: test.several, every: true} {
			if want {
				requireAccepted(t, auth, token, "%v", test.changes)
			} else {
				requireRefused(t, auth, token, "%v", test.changes)
			}
		}
	}
	for _, changes := range []jwt.MapClaims{{"iss": 1}, {"aud": 1}, {"aud": []any{"chat", 1}}} {
		requireRefused(t, one, hs256(t, changes), "a claim of another type: %v", changes)
	}
}

func TestTimesOfTokens(t *testing.T) {
	config := secretConfig()
	usual := newAuth(t, config) // with a leeway of 30 seconds
	config.Leeway = time.Hour
	generous := newAuth(t, config)
	config.Leeway, config.AllowNoExpiry = 0, true
	lasting := newAuth(t, config)
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, test := range []struct {
		changes                  jwt.MapClaims
		usual, generous, lasting bool
	}{
		{jwt.MapClaims{"exp": at(time.Hour)}, true, true, true},
		{jwt.MapClaims{"exp": at(-time.Second)}, true, true, true},
		{jwt.MapClaims{"exp": at(-35 * time.Second)}, false, true, false},
		{jwt.MapClaims{"exp": at(-2 * time.Hour)}, false, false, false},
		{jwt.MapClaims{"exp": nil}, false, false, true},
		{jwt.MapClaims{"nbf": at(-time.Hour)}, true, true, true},
		{jwt.MapClaims{"nbf": at(10 * time.Second)}, true, true, true},
		{jwt.MapClaims{"nbf": at(30 * time.Minute)}, false, true, false},
		{jwt.MapClaims{"nbf": at(2 * time.Hour)}, false, false, false},
		{jwt.MapClaims{"iat": at(-time.Hour)}, true, true, true},
		{jwt.MapClaims{"iat": at(30 * time.Minute)}, false, true, false},
		{jwt.MapClaims{"iat": at(2 * time.Hour)}, false, false, false},
		{jwt.MapClaims{"exp": "tomorrow"}, false, false, false},
		{jwt.MapClaims{"nbf": "yesterday"}, false, false, false},
	} {
		token := hs256(t, test.changes)
		for auth, want := range map[*jwtauth.Authenticator]bool{usual: test.usual, generous: test.generous, lasting: test.lasting} {
			if want {
				requireAccepted(t, auth, token, "%v", test.changes)
			} else {
				requireRefused(t, auth, token, "%v", test.changes)
			}
		}
	}
}

// The principal expires when the token does and the leeway is over.
func TestExpirationOfPrincipals(t *testing.T) {
	config := secretConfig()
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	token := hs256(t, jwt.MapClaims{"exp": expires.Unix()})
	require.WithinDuration(t, expires.Add(30*time.Second), requireAccepted(t, newAuth(t, config), token).Expires, 0)
	config.Leeway = 5 * time.Minute
	require.WithinDuration(t, expires.Add(5*time.Minute), requireAccepted(t, newAuth(t, config), token).Expires, 0)
	config.AllowNoExpiry = true
	auth := newAuth(t, config)
	require.WithinDuration(t, expires.Add(5*time.Minute), requireAccepted(t, auth, token).Expires, 0)
	require.Zero(t, requireAccepted(t, auth, hs256(t, jwt.MapClaims{"exp": nil})).Expires)
}

func TestRolesOfTokens(t *testing.T) {
	auth := newAuth(t, secretConfig())
	for _, test := range []struct {
		changes jwt.MapClaims
		want    []string
	}{
		{nil, nil},
		{jwt.MapClaims{"roles": "admin"}, []string{"admin"}},
		{jwt.MapClaims{"role": "admin"}, []string{"admin"}},
		{jwt.MapClaims{"roles": []string{"a", "b"}}, []string{"a", "b"}},
		{jwt.MapClaims{"role": []string{"a", "b"}}, []string{"a", "b"}},
		{jwt.MapClaims{"roles": []string{"a"}, "role": "b"}, []string{"a", "b"}},
		{jwt.MapClaims{"roles": []any{"a", 1, nil, []string{"x"}, "b"}}, []string{"a", "b"}},
		{jwt.MapClaims{"roles": "a b,c"}, []string{"a b,c"}}, // one text is one role
		{jwt.MapClaims{"roles": 1, "role": map[string]any{"a": true}}, nil},
		{jwt.MapClaims{"Roles": "admin", "groups": "admin"}, nil},
	} {
		require.ElementsMatch(t, test.want, requireAccepted(t, auth, hs256(t, test.changes)).Roles, "%v", test.changes)
	}
}

func TestUserIDsOfTokens(t *testing.T) {
	auth := newAuth(t, secretConfig())
	require.Equal(t, "Ada Ü", requireAccepted(t, auth, hs256(t, jwt.MapClaims{"sub": "Ada Ü"})).UserID)
	require.Empty(t, requireAccepted(t, auth, hs256(t, jwt.MapClaims{"sub": nil})).UserID)
	requireRefused(t, auth, hs256(t, jwt.MapClaims{"sub": 17}))

	config := secretConfig()
	errNoName := errors.New("no name")
	config.UserID = func(c jwt.MapClaims) (string, error) {
		name, ok := c["name"].(string)
		if !ok {
			return "", errNoName
		}
		return name, nil
	}
	config.Roles = func(c jwt.MapClaims) []string { return []string{"level " + c["level"].(string)} }
	auth = newAuth(t, config)
	p := requireAccepted(t, auth, hs256(t, jwt.MapClaims{"name": "Bob", "level": "3", "roles": "admin"}))
	require.Equal(t, "Bob", p.UserID)
	require.Equal(t, []string{"level 3"}, p.Roles)
	require.ErrorIs(t, requireRefused(t, auth, hs256(t, jwt.MapClaims{"level": "3"})), errNoName)
	requireRefused(t, auth, sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"name": "Bob", "level": "3", "iss": "other"})))
}

func TestRequestsWithoutToken(t *testing.T) {
	config := secretConfig()
	strict := newAuth(t, config)
	config.AllowAnonymous = true
	lenient := newAuth(t, config)
	query := httptest.NewRequest(http.MethodPost, "/chat/negotiate?access_token="+hs256(t, nil), nil)
	basic, empty := requestWith(""), requestWith("")
	basic.SetBasicAuth("ada", "secret")
	empty.Header.Set("Authorization", "Bearer ")
	for name, r := range map[string]*http.Request{"none": requestWith(""), "a query of a POST": query, "Basic": basic, "an empty one": empty} {
		_, err := strict.Authenticate(r)
		require.EqualError(t, err, "jwtauth: the request has no token", name)
		p, err := lenient.Authenticate(r)
		require.NoError(t, err, name)
		require.Nil(t, p, name)
		require.False(t, p.Authenticated())
	}
	for _, token := range []string{"x", hs256(t, jwt.MapClaims{"iss": "other"}), hs256(t, jwt.MapClaims{"exp": 1})} {
		requireRefused(t, lenient, token, "a token that is not valid is not that of an anonymous user")
	}
	require.Equal(t, "ada", requireAccepted(t, lenient, hs256(t, nil)).UserID)
}

// The token of an event stream may be in the query.
func TestTokensInQueries(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/chat?id=1&access_token="+hs256(t, nil), nil)
	auth := newAuth(t, secretConfig())
	_, err := auth.Authenticate(r)
	require.Error(t, err, "a poll")
	r.Header.Set("Accept", "text/event-stream")
	p, err := auth.Authenticate(r)
	require.NoError(t, err)
	require.Equal(t, "ada", p.UserID)
}

func TestKeysThatAFunctionFinds(t *testing.T) {
	keys := testKeys()
	config := secretConfig()
	errUnknownKey := errors.New("unknown key")
	config.Secret, config.Algorithms = nil, []string{"RS256", "ES256"}
	config.Keyfunc = func(token *jwt.Token) (any, error) {
		switch token.Header["kid"] {
		case "rsa":
			return &keys.rsa.PublicKey, nil
		case "ecdsa":
			return &keys.ecdsa.PublicKey, nil
		case "secret":
			return secret, nil
		}
		return nil, errUnknownKey
	}
	auth := newAuth(t, config)
	signed := func(method jwt.SigningMethod, kid string, key any) string {
		token := jwt.NewWithClaims(method, claims(nil))
		token.Header["kid"] = kid
		text, err := token.SignedString(key)
		require.NoError(t, err)
		return text
	}
	requireAccepted(t, auth, signed(jwt.SigningMethodRS256, "rsa", keys.rsa))
	requireAccepted(t, auth, signed(jwt.SigningMethodES256, "ecdsa", keys.ecdsa))
	require.ErrorIs(t, requireRefused(t, auth, signed(jwt.SigningMethodRS256, "x", keys.rsa)), errUnknownKey)
	requireRefused(t, auth, signed(jwt.SigningMethodRS256, "ecdsa", keys.rsa), "a key of another kind")
	requireRefused(t, auth, signed(jwt.SigningMethodRS256, "rsa", keys.other), "another key")
	requireRefused(t, auth, signed(jwt.SigningMethodHS256, "secret", secret), "HS256 is not in Algorithms")
}

// Errors for logs name what is wrong, and not the token.
func TestErrorsKeepTokensSecret(t *testing.T) {
	auth := newAuth(t, secretConfig())
	for _, token := range []string{hs256(t, jwt.MapClaims{"exp": 1}), sign(t, jwt.SigningMethodHS512, secret, claims(nil)), hs256(t, nil) + "x", "SECRET.SECRET.SECRET", "SECRET"} {
		err := requireRefused(t, auth, token)
		require.ErrorContains(t, err, "jwtauth: ")
		require.NotContains(t, err.Error(), token)
		require.NotContains(t, err.Error(), "SECRET")
	}
}

var _ func(*http.Request) (*hubsys.Principal, error) = (*jwtauth.Authenticator)(nil).Authenticate
