package auth

import (
	"crypto/tls"
	"log/slog"
	"os"
	"slices"
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
	log       *slog.Logger

	mu    sync.Mutex
	pair  *tls.Certificate
	watch watch
}

// watch notices when files change.
type watch struct {
	files  []string
	stamps []stamp   // when they were last read, with success or without
	looked time.Time // at their stamps
}

// stamp tells a file from what it was before.
type stamp struct {
	device, inode   uint64
	size            int64
	modified, moved syscall.Timespec
}

// OpenFiles reads the chain of certificates and the key, both PEM.
func OpenFiles(cert, key string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log, watch: watch{files: []string{cert, key}}}
	f.watch.changed()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	f.pair = &pair
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
	if !f.watch.changed() {
		return f.pair
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		f.log.Warn("the new certificate is not used, the old one is", "cert", f.cert, "key", f.key, "err", err)
		return f.pair
	}
	f.pair = &pair
	f.log.Info("certificate read again", "cert", f.cert, "until", pair.Leaf.NotAfter)
	f.complain()
	return f.pair
}

// changed reports whether a file has changed since the last look, and looks at most once in reloadPause. It
// comes before the reading: what changes in between is seen by the next look.
func (w *watch) changed() bool {
	if time.Since(w.looked) < reloadPause {
		return false
	}
	w.looked = time.Now()
	var now []stamp
	for _, file := range w.files {
		now = append(now, stampOf(file))
	}
	changed := !slices.Equal(now, w.stamps)
	w.stamps = now
	return changed
}

// complain says that the certificate cannot be good for anybody.
func (f *Files) complain() {
	if leaf := f.pair.Leaf; time.Now().After(leaf.NotAfter) {
		f.log.Warn("the certificate has expired: whoever checks it does not connect", "cert", f.cert, "until", leaf.NotAfter)
	}
}

// stampOf follows symbolic links; the zero stamp is of a file that is not there.
func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{size: info.Size()}
	}
	return stamp{uint64(sys.Dev), sys.Ino, sys.Size, sys.Mtim, sys.Ctim} //nolint:unconvert // it has 32 bits on MIPS
}
