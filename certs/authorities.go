package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// Authorities are the certificates in a file that somebody else changes, of the authorities whose
// clients may come. A handshake gets what the file holds then, provided that all of it can be read;
// connections that are there already are not touched. All methods may be called concurrently.
type Authorities struct {
	file string
	log  *slog.Logger

	mu    sync.Mutex
	pool  *x509.CertPool
	watch watch
}

// OpenAuthorities reads the file, PEM. It is opened with open, now and later; nil for os.Open.
func OpenAuthorities(file string, open func(name string) (*os.File, error),
	log *slog.Logger) (*Authorities, error) {
	a := &Authorities{file: file, log: log, watch: newWatch(open, file)}
	a.watch.changed()
	var err error
	a.pool, err = a.load()
	return a, err
}

// Pool returns what the file holds; when that is not only certificates, what it held before.
func (a *Authorities) Pool() *x509.CertPool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.watch.changed() {
		return a.pool
	}
	pool, err := a.load()
	if err != nil {
		a.log.Warn("the new client authorities are not used, the old ones are", "client_ca", a.file,
			"err", err)
		return a.pool
	}
	a.pool = pool
	a.log.Info("client authorities read again", "client_ca", a.file)
	return a.pool
}

// load reads the file. Half of a certificate is an error: x509.CertPool.AppendCertsFromPEM would
// leave it out, and lock its clients out.
func (a *Authorities) load() (*x509.CertPool, error) {
	file := a.file
	data, err := a.watch.read(file)
	if err != nil {
		return nil, err
	}
	pool, some, begin := x509.NewCertPool(), false, []byte("-----BEGIN ")
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s has a %s beside its certificates", file, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		pool.AddCert(cert)
		some = true
		// Decode passes over what it cannot read.
		if bytes.Count(data[:len(data)-len(rest)], begin) != 1 {
			return nil, fmt.Errorf("%s: %w", file, errHalf)
		}
		data = rest
	}
	switch {
	case bytes.Contains(data, begin):
		return nil, fmt.Errorf("%s: %w", file, errHalf)
	case !some:
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

// errHalf says that a file is still being written, or was cut.
var errHalf = errors.New("a certificate there is not whole")
