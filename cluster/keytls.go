package cluster

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"time"
)

// nodeName is what the certificates of all nodes are for: nodes are not told apart by them.
const nodeName = "node.troupe"

// Certificates are valid at any time, so that clocks need not agree. What ends them is another key.
var (
	validFrom = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	validTo   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// derive makes 32 bytes for one purpose out of a key.
func derive(key []byte, purpose, cluster string) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "troupe cluster "+purpose+" "+cluster, 32)
}

// keyTLS returns the configuration of TLS for both ends of connections between nodes: they have to prove that they know one of the keys. This
// node proves that it knows the first one.
//
// The key of a certificate authority is derived from each key of the cluster, so every process can sign a certificate for itself.
func keyTLS(keys [][]byte, cluster string) (*tls.Config, error) {
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: nodeName, MinVersion: tls.VersionTLS13}
	for i, key := range keys {
		seed, err := derive(key, "certificates", cluster)
		if err != nil {
			return nil, err
		}
		signer := ed25519.NewKeyFromSeed(seed)
		authority, err := newAuthority(signer)
		if err != nil {
			return nil, err
		}
		c.RootCAs.AddCert(authority)
		if i == 0 {
			own, err := newCertificate(authority, signer)
			if err != nil {
				return nil, err
			}
			c.Certificates = []tls.Certificate{own}
		}
	}
	c.ClientCAs = c.RootCAs
	return c, nil
}

// newAuthority returns the certificate of an authority. It has the authority's key in its name, by which the right one among several is found.
func newAuthority(signer ed25519.PrivateKey) (*x509.Certificate, error) {
	public := signer.Public().(ed25519.PublicKey)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "troupe cluster " + hex.EncodeToString(public[:8])}, NotBefore: validFrom, NotAfter: validTo,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newCertificate returns a new certificate, with a key that this process alone has.
func newCertificate(authority *x509.Certificate, signer ed25519.PrivateKey) (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial := new(big.Int).SetBytes(public[:16])
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: nodeName}, DNSNames: []string{nodeName}, NotBefore: validFrom, NotAfter: validTo,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, public, signer)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, err
}

// secrets are what a node proves and checks that others are nodes with. Nil: nothing, because the cluster is insecure.
type secrets struct {
	gossip [][]byte // the first one is used, all are accepted
	tls    *tls.Config
}

func (c *Config) secrets() (*secrets, error) {
	if c.Insecure {
		return nil, nil
	}
	keys := append([][]byte{c.Key}, c.AcceptedKeys...)
	s := &secrets{tls: c.TLS.Clone()}
	for _, key := range keys {
		one, err := derive(key, "gossip", c.Cluster)
		if err != nil {
			return nil, err
		}
		s.gossip = append(s.gossip, one)
	}
	if s.tls == nil {
		var err error
		if s.tls, err = keyTLS(keys, c.Cluster); err != nil {
			return nil, err
		}
	}
	s.tls.ClientAuth = tls.RequireAndVerifyClientCert
	return s, nil
}
