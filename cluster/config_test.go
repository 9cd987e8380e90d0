package cluster

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestValidateReportsEverything(t *testing.T) {
	t.Parallel()
	bad := Config{
		Bind: "host", Advertise: "0.0.0.0", Seeds: []string{"", "ok", "a:0", "a b", "[::1]:99999", "a:b:c"}, Cluster: strings.Repeat("c", 200), Name: "\xff",
		Key: make([]byte, 31), AcceptedKeys: [][]byte{make([]byte, 32), nil}, TLS: &tls.Config{InsecureSkipVerify: true}, MaxMessage: 1,
	}
	err := bad.Validate()
	require.Error(t, err)
	for _, part := range []string{
		"cluster: Config: Bind is \"host\"", "Advertise is \"0.0.0.0\"", "Seeds[0]", "Seeds[2]", "Seeds[3]", "Seeds[4]", "Seeds[5]", "Cluster is more", "Name is", "Key has 31", "AcceptedKeys[1] has 0",
		"TLS has no certificate", "TLS lacks RootCAs", "TLS has InsecureSkipVerify", "MaxMessage is 1",
	} {
		assert.ErrorContains(t, err, part)
	}
	assert.NotContains(t, err.Error(), "Seeds[1]")
	assert.NotContains(t, err.Error(), "AcceptedKeys[0]")

	assert.ErrorContains(t, (&Config{}).Validate(), "Key has 0 bytes")
	assert.ErrorContains(t, (&Config{Insecure: true, Key: testKey}).Validate(), "Insecure is set")
	assert.NoError(t, (&Config{Insecure: true}).Validate())
	assert.ErrorContains(t, (&Config{Insecure: true, Advertise: "10.0.0.1:0"}).Validate(), `Advertise is "10.0.0.1:0"`)
	assert.NoError(t, (&Config{Key: testKey, Bind: ":1", Advertise: "10.0.0.1:80", Seeds: []string{"::1", "[::1]:7", "name", "name:7", "10.0.0.1"}}).Validate())
	assert.Error(t, (&Config{Key: testKey, Bind: "10.0.0.1:65534"}).Validate(), "there are no three ports")
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := Config{Key: testKey}.withDefaults()
	assert.Equal(t, "troupe", c.Cluster)
	assert.Equal(t, 64<<20, c.MaxMessage)
	assert.NotEmpty(t, c.Name)
	assert.NotNil(t, c.Logger)
}

func TestAdvertisedAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ bind, advertise, first, last string }{
		{"10.0.0.1", "", "10.0.0.1:7", "10.0.0.1:9"},
		{"10.0.0.1:0", "", "10.0.0.1:7", "10.0.0.1:9"},
		{"", "10.0.0.2", "10.0.0.2:7", "10.0.0.2:9"},
		{"", "10.0.0.2:50", "10.0.0.2:50", "10.0.0.2:52"},
		{"::1", "", "[::1]:7", "[::1]:9"},
		{"[::]:7", "fd00::1", "[fd00::1]:7", "[fd00::1]:9"},
	} {
		config := Config{Bind: c.bind, Advertise: c.advertise}
		got, err := config.advertised([3]uint16{7, 8, 9})
		require.NoError(t, err)
		assert.Equal(t, c.first, got[0].String())
		assert.Equal(t, c.last, got[2].String())
	}
}

func TestSeedsAreSplit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.OneOf(rapid.String(), rapid.StringMatching(`\[?[a-f0-9:.]{0,12}\]?(:[0-9]{0,6})?`)).Draw(t, "seed")
		host, port, err := splitSeed(seed, 5)
		if err == nil && (host == "" || port == 0) {
			t.Fatalf("%q: %q %d", seed, host, port)
		}
	})
	for seed, want := range map[string]string{"::1": "[::1]:5", "[::1]:9": "[::1]:9", "1.2.3.4": "1.2.3.4:5", "1.2.3.4:9": "1.2.3.4:9"} {
		host, port, err := splitSeed(seed, 5)
		require.NoError(t, err)
		assert.Equal(t, want, netip.AddrPortFrom(netip.MustParseAddr(host), port).String())
	}
}

// Nodes can have certificates of their own, which name addresses.
func TestNodesHaveCertificatesOfTheirOwn(t *testing.T) {
	t.Parallel()
	public, signer, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	authority, err := newAuthority(signer)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: validTo, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, public, signer)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	own := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: signer}}, RootCAs: pool, ClientCAs: pool}
	a := start(t, echo{}, func(c *Config) { c.TLS = own })
	b := start(t, nil, func(c *Config) { c.TLS = own }, a)
	meet(t, a, b)
	talk(t, a, b)
	status, body := relayOnce(t, b, a.id, "/x")
	assert.Equal(t, "200 /x", fmt.Sprint(status, " ", body))
	assert.Equal(t, tls.NoClientCert, own.ClientAuth, "it is not changed")
}

func TestKeysOfOneClusterVerifyEachOther(t *testing.T) {
	t.Parallel()
	a, err := keyTLS([][]byte{testKey}, "one")
	require.NoError(t, err)
	b, err := keyTLS([][]byte{testKey}, "one")
	require.NoError(t, err)
	assert.True(t, a.RootCAs.Equal(b.RootCAs))
	assert.NotEqual(t, a.Certificates[0].Certificate, b.Certificates[0].Certificate)
	other, err := keyTLS([][]byte{testKey}, "two")
	require.NoError(t, err)
	assert.False(t, a.RootCAs.Equal(other.RootCAs))
	assert.NotContains(t, string(a.Certificates[0].Certificate[0]), string(testKey))
}

// The name of a cluster is in what nodes say to each other, which could not be encoded.
func TestTheNameOfAClusterIsUTF8(t *testing.T) {
	t.Parallel()
	assert.ErrorContains(t, (&Config{Cluster: "\xff", Key: testKey}).Validate(), "Cluster is")
}
