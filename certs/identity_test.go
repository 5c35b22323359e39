package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newIdentity(t *testing.T, dir string, names ...string) *Identity {
	t.Helper()
	i, err := OpenIdentity(dir, names...)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestIdentityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first := newIdentity(t, dir, "192.0.2.1", "server.example")
	key, ok := first.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() || !first.New {
		t.Errorf("key %T, new %v; want a new one of P-256", first.Certificate.PrivateKey, first.New)
	}
	leaf := first.Certificate.Leaf
	if leaf.IsCA || !leaf.BasicConstraintsValid || len(leaf.ExtKeyUsage) != 1 ||
		leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("the certificate is an authority, or for more than servers: %+v", leaf)
	}
	for _, name := range []string{"192.0.2.1", "server.example"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if left := time.Until(leaf.NotAfter); left < 9*365*24*time.Hour ||
		time.Since(leaf.NotBefore) < time.Hour {
		t.Errorf("good from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	for _, file := range []string{"key.pem", "cert.pem"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", file, info.Mode(), err)
		}
	}
	again := newIdentity(t, dir, "server.example", "192.0.2.1")
	if again.New || !again.Certificate.Leaf.Equal(leaf) {
		t.Error("the second start made another")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
}

// A lost or unusable certificate does not change the pin.
func TestIdentityKeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	cert := filepath.Join(dir, "cert.pem")
	before := newIdentity(t, dir, "192.0.2.1")
	other := t.TempDir()
	newIdentity(t, other, "192.0.2.1")
	write := func(data []byte) func() {
		return func() {
			if err := os.WriteFile(cert, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(){
		"deleted":   func() { _ = os.Remove(cert) },
		"empty":     write(nil),
		"half":      write(whole[:len(whole)/2]),
		"another's": write(foreign),
		"an unfinished write": func() {
			write(nil)()
			_ = os.WriteFile(cert+".new", whole[:10], 0o644)
		},
		"expires soon": func() {
			made(t, cert, before, time.Now().Add(300*24*time.Hour-identityLife))
		},
		"not yet valid": func() {
			made(t, cert, before, time.Now().Add(identityPast+time.Hour))
		},
		"expired": func() {
			made(t, cert, before, time.Now().Add(-time.Hour-identityLife))
		},
	} {
		spoil()
		after := newIdentity(t, dir, "192.0.2.1")
		if after.New || after.Pin() != before.Pin() {
			t.Errorf("%s: another key", name)
		}
		leaf := after.Certificate.Leaf
		if err := leaf.VerifyHostname("192.0.2.1"); err != nil ||
			time.Until(leaf.NotAfter) < 9*365*24*time.Hour || time.Now().Before(leaf.NotBefore) {
			t.Errorf("%s: a bad certificate: %v", name, err)
		}
		if info, err := os.Stat(cert); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
		if again := newIdentity(t, dir, "192.0.2.1"); !again.Certificate.Leaf.Equal(leaf) {
			t.Errorf("%s: the next start made another certificate", name)
		}
	}
	moved := newIdentity(t, dir, "198.51.100.1")
	if moved.Pin() != before.Pin() || moved.Certificate.Leaf.VerifyHostname("198.51.100.1") != nil {
		t.Error("another name changed the key, or not the certificate")
	}
}

// made writes the certificate that makeLeaf would have made then.
func made(t *testing.T, file string, i *Identity, then time.Time) {
	t.Helper()
	key, ok := i.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("no ECDSA key")
	}
	if _, err := makeLeaf(file, key, []string{"192.0.2.1"}, then); err != nil {
		t.Fatal(err)
	}
}

// A damaged key is an error and not replaced: a new one would lock every client out.
func TestIdentityDamagedKey(t *testing.T) {
	dir := t.TempDir()
	newIdentity(t, dir, "192.0.2.1")
	file := filepath.Join(dir, "key.pem")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "half": whole[:len(whole)/2], "a certificate": cert,
		"two keys": append(whole[:len(whole):len(whole)], whole...),
		"garbage":  []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenIdentity(dir, "192.0.2.1")
		if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v; want ErrIdentity with the file's name", name, err)
		}
		if now, _ := os.ReadFile(file); string(now) != string(data) {
			t.Errorf("%s: the key was replaced", name)
		}
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	newIdentity(t, dir, "192.0.2.1")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the key: %v, %v", info.Mode(), err)
	}
}

func TestIdentityCannotBeWritten(t *testing.T) {
	if _, err := OpenIdentity(filepath.Join(t.TempDir(), "nowhere"), "192.0.2.1"); !errors.Is(err,
		os.ErrNotExist) {
		t.Errorf("%v; want that the directory is missing", err)
	}
}
