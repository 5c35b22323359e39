// Package certs has the certificates of servers and clients, and checks them: a server's
// self-signed certificate, files that are reloaded when they change, ACME, client authorities, and
// pins.
package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tunnel/atomicfile"
)

// A self-signed certificate has a long lifetime, since clients check its key by the pin. It is
// renewed when less than identityRenew is left, and valid from a day ago, because clocks differ.
const (
	identityLife  = 10 * 365 * 24 * time.Hour
	identityRenew = 365 * 24 * time.Hour
	identityPast  = 24 * time.Hour
)

// Files of an Identity.
const (
	IdentityKey  = "key.pem"
	IdentityCert = "cert.pem"
)

// ErrIdentity means that the key's file has no key.
var ErrIdentity = errors.New("damaged key")

// Identity is a key and a certificate that a server has made for itself.
type Identity struct {
	Certificate tls.Certificate // with its Leaf
	New         bool            // OpenIdentity made the key
}

// Pin returns the pin of the key.
func (i *Identity) Pin() Pin { return PinOf(i.Certificate.Leaf) }

// OpenIdentity returns the identity in dir: key.pem (PKCS #8) and cert.pem, both with mode 0600. It
// makes those that are missing, and a new certificate for the same key if the old one is damaged,
// belongs to another key, ends within a year, or is not for exactly these names (DNS names or
// addresses). The error is ErrIdentity, wrapped, if the key's file is damaged. Only one process at
// a time may call this for a directory.
func OpenIdentity(dir string, names ...string) (*Identity, error) {
	keyFile, certFile := filepath.Join(dir, IdentityKey), filepath.Join(dir, IdentityCert)
	var identity Identity
	key, err := readKey(keyFile)
	if errors.Is(err, os.ErrNotExist) {
		identity.New = true
		key, err = makeKey(keyFile)
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf := readLeaf(certFile)
	if leaf == nil || !usable(leaf, key, names, now) {
		if leaf, err = makeLeaf(certFile, key, names, now); err != nil {
			return nil, err
		}
	}
	identity.Certificate = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key,
		Leaf: leaf}
	return &identity, nil
}

// readKey reads a private key, and changes its file's mode to 0600 if other users may read it.
func readKey(file string) (crypto.Signer, error) {
	f, err := atomicfile.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: %s is not one key in PEM", ErrIdentity, file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIdentity, file, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %s: a %T cannot sign", ErrIdentity, file, parsed)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil { // not by name, which the sandbox refuses
			return nil, err
		}
	}
	return key, nil
}

func makeKey(file string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key,
		atomicfile.Replace(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// readLeaf reads a certificate. It returns nil if it cannot: the caller makes another.
func readLeaf(file string) *x509.Certificate {
	data, err := atomicfile.Read(file)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return leaf
}

// usable reports whether leaf is valid for more than identityRenew, and for this key and names.
func usable(leaf *x509.Certificate, key crypto.Signer, names []string, now time.Time) bool {
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) || now.Before(leaf.NotBefore) ||
		now.Add(identityRenew).After(leaf.NotAfter) {
		return false
	}
	have := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		have = append(have, ip.String())
	}
	want := slices.Clone(names)
	for i, name := range want {
		if ip := net.ParseIP(name); ip != nil {
			want[i] = ip.String()
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	return slices.Equal(have, want)
}

// makeLeaf writes a self-signed certificate for key. It is no authority, so that a client that
// trusts it trusts this server only, and it does not name this program.
func makeLeaf(file string, key crypto.Signer, names []string, now time.Time) (*x509.Certificate,
	error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-identityPast),
		NotAfter:              now.Add(identityLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if len(names) > 0 {
		template.Subject = pkix.Name{CommonName: names[0]}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	if err := atomicfile.Replace(file,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
