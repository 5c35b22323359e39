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

// Authorities are the certificates of the authorities whose clients are admitted, in a file that
// another program may replace. A handshake uses the file's present content if all of it can be
// read; established connections are not affected. All methods may be called concurrently.
type Authorities struct {
	file string
	log  *slog.Logger

	mu    sync.Mutex
	pool  *x509.CertPool
	watch watch
}

// OpenAuthorities reads a PEM file. Each time it is opened with open; nil means os.Open.
func OpenAuthorities(file string, open func(name string) (*os.File, error),
	log *slog.Logger) (*Authorities, error) {
	a := &Authorities{file: file, log: log, watch: newWatch(open, file)}
	a.watch.changed()
	var err error
	a.pool, err = a.load()
	return a, err
}

// Pool returns the certificates in the file, or the previous ones if it has anything else.
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

// load reads the file. An incomplete certificate is an error: x509.CertPool.AppendCertsFromPEM
// would ignore it, which would lock its clients out.
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
		// Decode skips blocks that it cannot parse.
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

// errHalf means that a file is still being written, or was truncated.
var errHalf = errors.New("a certificate there is not whole")
