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

// reloadPause is the least time between two checks for changes.
const reloadPause = time.Second

// Files is a certificate and its key in two files that another program may replace. A handshake
// uses their present content if the key is the certificate's; established connections are not
// affected. All methods may be called concurrently.
type Files struct {
	cert, key string
	log       *slog.Logger

	mu    sync.Mutex
	pair  *tls.Certificate
	watch watch
}

// watch checks whether files have changed, and reads them.
type watch struct {
	open   func(name string) (*os.File, error)
	files  []string
	stamps []stamp   // of the files, at the last check
	looked time.Time // when they were checked
}

// newWatch returns a watch that opens files with open; nil means os.Open.
func newWatch(open func(name string) (*os.File, error), files ...string) watch {
	if open == nil {
		open = os.Open
	}
	return watch{open: open, files: files}
}

// stamp changes when a file is replaced or written.
type stamp struct {
	device, inode   uint64
	size            int64
	modified, moved syscall.Timespec
}

// OpenFiles reads the certificate chain and the key, both PEM. Each time they are opened with open;
// nil means os.Open.
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

// GetClientCertificate is the tls.Config's hook of that name. It ignores the authorities that the
// server asks for: the error of a server that refuses a certificate says more than that of one that
// got none.
func (f *Files) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return f.Current(), nil
}

// Current returns the certificate and key in the files, or the previous ones if these are not a
// pair.
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

// changed reports whether a file has changed since the last check, which is at most once in
// reloadPause. Call it before read: the next check then finds a change in between.
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

// complain logs that the certificate has expired.
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

// MaxFile is the size of the largest file of certificates, of a key or of a token that is read, in
// bytes. The roots of all public authorities have less than 1 MiB.
const MaxFile = 8 << 20

// stampOf follows symbolic links. It returns the zero stamp if there is no file.
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
