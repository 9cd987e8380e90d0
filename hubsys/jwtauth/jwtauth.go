// Package jwtauth authenticates the users of hubs by JSON Web Tokens.
//
//	auth, err := jwtauth.New(jwtauth.Config{
//		PublicKey: key, Algorithms: []string{"RS256"}, Issuer: "https://login.example", Audience: []string{"chat"},
//	})
//	err = chat.Map("/chat", hubsys.EndpointOptions{Authenticate: auth.Authenticate})
//
// Tokens are checked by github.com/golang-jwt/jwt.
package jwtauth

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/troupe-go/troupe/hubsys"
)

// Any is the Issuer or the Audience of a [Config] that takes all of them, and tokens that have none.
const Any = "*"

// leastSecret is how many bytes a secret has at least: as many as the shortest hash (RFC 7518, 3.2).
const leastSecret = 32

// Config says which tokens are valid. There are no defaults for what security depends on: one of the keys, Algorithms, Issuer and Audience
// are required.
type Config struct {
	// Secret is the key of the HMAC algorithms, of at least 32 bytes.
	Secret []byte
	// PublicKey is the key of the other algorithms: an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
	PublicKey crypto.PublicKey
	// Keyfunc finds the key of a token, as libraries for JSON Web Key Sets do. It stands in place of Secret and PublicKey.
	Keyfunc jwt.Keyfunc
	// Algorithms are those that tokens may be signed with, such as "RS256". "none" is not allowed, and neither are HMAC algorithms together with
	// others, because a public key would then be a secret that everybody knows.
	Algorithms []string
	// Issuer is the claim iss that tokens must have, or Any.
	Issuer string
	// Audience is what the claim aud of tokens must contain: one of these. Any: everything, and nothing.
	Audience []string

	// Leeway is how far the clocks of issuer and server may differ. Default: 30 s.
	Leeway time.Duration
	// AllowNoExpiry accepts tokens that never expire. Default: false.
	AllowNoExpiry bool
	// AllowAnonymous accepts requests without a token, as those of an anonymous user. Default: false, they are refused with status 401. A token
	// that is not valid is refused in any case.
	AllowAnonymous bool

	// UserID returns the user identifier. Default: the claim sub.
	UserID func(claims jwt.MapClaims) (string, error)
	// Roles returns the roles of the user. Default: those of the claims roles and role, each a text or a list of texts.
	Roles func(claims jwt.MapClaims) []string
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	keys := 0
	for _, set := range []bool{c.Secret != nil, c.PublicKey != nil, c.Keyfunc != nil} {
		if set {
			keys++
		}
	}
	check(keys == 1, "one of Secret, PublicKey and Keyfunc is required, not %d of them", keys)
	check(c.Secret == nil || len(c.Secret) >= leastSecret, "Secret has %d bytes: it has at least %d", len(c.Secret), leastSecret)
	check(len(c.Algorithms) > 0, "Algorithms is empty: it lists those that tokens may be signed with")
	hmac := 0
	for _, algorithm := range c.Algorithms {
		method := jwt.GetSigningMethod(algorithm)
		check(method != nil && algorithm != jwt.SigningMethodNone.Alg(), "Algorithms has %q, which is unknown or not allowed", algorithm)
		_, isHMAC := method.(*jwt.SigningMethodHMAC)
		if isHMAC {
			hmac++
		}
		check(c.Secret == nil || isHMAC || method == nil, "Algorithms has %q, which needs a public key, and there is a Secret", algorithm)
		check(c.PublicKey == nil || method == nil || fits(c.PublicKey, method), "Algorithms has %q, which a PublicKey of type %T is not for", algorithm, c.PublicKey)
	}
	check(hmac == 0 || hmac == len(c.Algorithms), "Algorithms has HMAC algorithms together with others: a public key could be used as a secret")
	check(c.Issuer != "", "Issuer is empty: jwtauth.Any accepts all")
	check(len(c.Audience) > 0, "Audience is empty: jwtauth.Any accepts all")
	check(!slices.Contains(c.Audience, ""), "Audience has an empty element")
	check(c.Leeway >= 0, "Leeway is %s: it is not negative", c.Leeway)
	check(c.Leeway <= 0 || c.Leeway >= time.Microsecond, "Leeway is %s: a number alone means nanoseconds; write 15*time.Second", c.Leeway)
	if len(faults) > 0 {
		return fmt.Errorf("jwtauth: Config: %w", errors.Join(faults...))
	}
	return nil
}

// fits reports whether a public key is one for an algorithm.
func fits(key crypto.PublicKey, method jwt.SigningMethod) bool {
	switch method := method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		k, ok := key.(*rsa.PublicKey)
		return ok && k != nil
	case *jwt.SigningMethodECDSA:
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k != nil && k.Curve != nil && k.Curve.Params().BitSize == method.CurveBits
	case *jwt.SigningMethodEd25519:
		k, ok := key.(ed25519.PublicKey)
		return ok && len(k) == ed25519.PublicKeySize
	}
	return false
}

// Authenticator checks tokens. It can be used concurrently.
type Authenticator struct {
	config Config
	key    jwt.Keyfunc
	parser *jwt.Parser
}

// New makes an Authenticator.
func New(config Config) (*Authenticator, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config.Leeway = cmp.Or(config.Leeway, 30*time.Second)
	options := []jwt.ParserOption{jwt.WithValidMethods(config.Algorithms), jwt.WithLeeway(config.Leeway), jwt.WithIssuedAt()}
	if !config.AllowNoExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	if config.Issuer != Any {
		options = append(options, jwt.WithIssuer(config.Issuer))
	}
	if !slices.Contains(config.Audience, Any) {
		options = append(options, jwt.WithAudience(config.Audience...))
	}
	a := &Authenticator{config: config, key: config.Keyfunc, parser: jwt.NewParser(options...)}
	switch {
	case config.Secret != nil:
		a.key = func(*jwt.Token) (any, error) { return config.Secret, nil }
	case config.PublicKey != nil:
		a.key = func(*jwt.Token) (any, error) { return config.PublicKey, nil }
	}
	return a, nil
}

// Authenticate is for [hubsys.EndpointOptions]. The principal has UserID, Roles and Claims, and expires when the token does and Leeway is over.
// Why a token is refused is in the error, which is logged, and not shown to clients.
func (a *Authenticator) Authenticate(r *http.Request) (*hubsys.Principal, error) {
	token := hubsys.BearerToken(r)
	if token == "" {
		if a.config.AllowAnonymous {
			return nil, nil
		}
		return nil, errors.New("jwtauth: the request has no token")
	}
	claims := jwt.MapClaims{}
	if _, err := a.parser.ParseWithClaims(token, claims, a.key); err != nil {
		return nil, fmt.Errorf("jwtauth: %w", err)
	}
	userID, err := a.userID(claims)
	if err != nil {
		return nil, fmt.Errorf("jwtauth: %w", err)
	}
	p := &hubsys.Principal{UserID: userID, Roles: a.roles(claims), Claims: claims}
	if expires, err := claims.GetExpirationTime(); err == nil && expires != nil {
		p.Expires = expires.Add(a.config.Leeway)
	}
	return p, nil
}

func (a *Authenticator) userID(claims jwt.MapClaims) (string, error) {
	if a.config.UserID != nil {
		return a.config.UserID(claims)
	}
	return claims.GetSubject()
}

func (a *Authenticator) roles(claims jwt.MapClaims) []string {
	if a.config.Roles != nil {
		return a.config.Roles(claims)
	}
	return slices.Concat(texts(claims["roles"]), texts(claims["role"]))
}

// texts returns the texts of a claim that is one, or a list of them. (Issuers differ in this.)
func texts(claim any) []string {
	switch claim := claim.(type) {
	case string:
		return []string{claim}
	case []any:
		var all []string
		for _, one := range claim {
			if text, ok := one.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}
