package auth

import (
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// reloadPause is the least time between two looks at the files.
const reloadPause = time.Second

// Files is a certificate and its key in two files that somebody else renews. A handshake gets what they hold then,
// provided that they fit each other; connections that are there already are not touched. All methods may be called
// concurrently.
type Files struct {
	cert, key string
	open      func(name string) (*os.File, error)
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	stamp  [2]stamp  // of the files when they were last read, with success or without
	looked time.Time // at their stamps
}

// stamp tells a file from what it was before.
type stamp struct {
	device, inode   uint64
	size            int64
	modified, moved syscall.Timespec
}

// OpenFiles reads the chain of certificates and the key, both PEM. They are opened with open, now and later; nil is os.Open.
func OpenFiles(cert, key string, open func(name string) (*os.File, error), log *slog.Logger) (*Files, error) {
	if open == nil {
		open = os.Open
	}
	f := &Files{cert: cert, key: key, open: open, log: log}
	f.look()
	pair, err := f.load()
	if err != nil {
		return nil, err
	}
	f.pair = pair
	f.complain()
	return f, nil
}

// GetCertificate is the tls.Config's hook of that name, for a server.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.Current(), nil
}

// GetClientCertificate is the tls.Config's hook of that name. It shows the certificate whatever authorities the server
// asks for: a server that refuses this one says more than a server that got none.
func (f *Files) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return f.Current(), nil
}

// Current returns what the files hold; when that is no certificate with its key, what they held before.
func (f *Files) Current() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < reloadPause || !f.look() {
		return f.pair
	}
	pair, err := f.load()
	if err != nil {
		f.log.Warn("the new certificate is not used, the old one is", "cert", f.cert, "key", f.key, "err", err)
		return f.pair
	}
	f.pair = pair
	f.log.Info("certificate read again", "cert", f.cert, "until", pair.Leaf.NotAfter)
	f.complain()
	return f.pair
}

// look tells whether a file has changed since the last look. It comes before the reading: what changes in between is
// seen by the next look.
func (f *Files) look() bool {
	f.looked = time.Now()
	now := [2]stamp{f.stampOf(f.cert), f.stampOf(f.key)}
	changed := now != f.stamp
	f.stamp = now
	return changed
}

// complain says that the certificate cannot be good for anybody.
func (f *Files) complain() {
	if leaf := f.pair.Leaf; time.Now().After(leaf.NotAfter) {
		f.log.Warn("the certificate has expired: whoever checks it does not connect", "cert", f.cert, "until", leaf.NotAfter)
	}
}

// load reads both files.
func (f *Files) load() (*tls.Certificate, error) {
	cert, err := f.read(f.cert)
	if err != nil {
		return nil, err
	}
	key, err := f.read(f.key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	return &pair, err
}

func (f *Files) read(name string) ([]byte, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(file)
}

// stampOf follows symbolic links; the zero stamp is of a file that is not there.
func (f *Files) stampOf(name string) stamp {
	file, err := f.open(name)
	if err != nil {
		return stamp{}
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return stamp{}
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{size: info.Size()}
	}
	return stamp{uint64(sys.Dev), sys.Ino, sys.Size, sys.Mtim, sys.Ctim} //nolint:unconvert // it has 32 bits on MIPS
}
