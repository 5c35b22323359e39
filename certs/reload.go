package certs

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// reloadPause is the least time between two looks at the files.
const reloadPause = time.Second

// Files is a certificate and its key in two files that somebody else renews. A handshake gets what
// they hold then, provided that they fit each other; connections that are there already are not
// touched. All methods may be called concurrently.
type Files struct {
	cert, key string
	log       *slog.Logger

	mu    sync.Mutex
	pair  *tls.Certificate
	watch watch
}

// watch notices when files change, and reads them.
type watch struct {
	open   func(name string) (*os.File, error)
	files  []string
	stamps []stamp   // when they were last read, with success or without
	looked time.Time // at their stamps
}

// newWatch returns a watch that opens files with open; nil for os.Open.
func newWatch(open func(name string) (*os.File, error), files ...string) watch {
	if open == nil {
		open = os.Open
	}
	return watch{open: open, files: files}
}

// stamp tells a file from what it was before.
type stamp struct {
	device, inode   uint64
	size            int64
	modified, moved syscall.Timespec
}

// OpenFiles reads the chain of certificates and the key, both PEM. They are opened with open, now
// and later; nil for os.Open.
func OpenFiles(cert, key string, open func(name string) (*os.File, error),
	log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log, watch: newWatch(open, cert, key)}
	f.watch.changed()
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

// GetClientCertificate is the tls.Config's hook of that name. It shows the certificate whatever
// authorities the server asks for: a server that refuses this one says more than a server that got
// none.
func (f *Files) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return f.Current(), nil
}

// Current returns what the files hold; when that is no certificate with its key, what they held
// before.
func (f *Files) Current() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.watch.changed() {
		return f.pair
	}
	pair, err := f.load()
	if err != nil {
		f.log.Warn("the new certificate is not used, the old one is", "cert", f.cert, "key", f.key,
			"err", err)
		return f.pair
	}
	f.pair = pair
	f.log.Info("certificate read again", "cert", f.cert, "until", pair.Leaf.NotAfter)
	f.complain()
	return f.pair
}

// changed reports whether a file has changed since the last look, and looks at most once in
// reloadPause. It comes before the reading: what changes in between is seen by the next look.
func (w *watch) changed() bool {
	if time.Since(w.looked) < reloadPause {
		return false
	}
	w.looked = time.Now()
	var now []stamp
	for _, file := range w.files {
		now = append(now, w.stampOf(file))
	}
	changed := !slices.Equal(now, w.stamps)
	w.stamps = now
	return changed
}

// complain says that the certificate cannot be good for anybody.
func (f *Files) complain() {
	if leaf := f.pair.Leaf; time.Now().After(leaf.NotAfter) {
		f.log.Warn("the certificate has expired: clients that check it do not connect", "cert",
			f.cert, "until", leaf.NotAfter)
	}
}

// load reads both files.
func (f *Files) load() (*tls.Certificate, error) {
	cert, err := f.watch.read(f.cert)
	if err != nil {
		return nil, err
	}
	key, err := f.watch.read(f.key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	return &pair, err
}

func (w *watch) read(name string) ([]byte, error) {
	file, err := w.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, MaxFile)
	}
	return data, err
}

// MaxFile is the largest file of certificates, of a key or of a token that is read, in bytes. The
// roots of all public authorities take less than 1 MiB.
const MaxFile = 8 << 20

// stampOf follows symbolic links; the zero stamp is of a file that is not there.
func (w *watch) stampOf(name string) stamp {
	file, err := w.open(name)
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
