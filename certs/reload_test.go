package certs

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rotation is the certificate and key files of a server, which the test replaces.
type rotation struct {
	t    *testing.T
	dir  string
	log  bytes.Buffer
	file *Files
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{t: t, dir: t.TempDir()}
	newIdentity(t, r.dir, "first.example")
	var err error
	r.file, err = OpenFiles(filepath.Join(r.dir, "cert.pem"), filepath.Join(r.dir, "key.pem"), nil,
		slog.New(slog.NewTextHandler(&r.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put overwrites files with those of another directory.
func (r *rotation) put(dir string, names ...string) {
	r.t.Helper()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// serves fails the test unless a handshake, reloadPause after the last check, gets a certificate
// for name.
func (r *rotation) serves(name string) {
	r.t.Helper()
	r.file.mu.Lock()
	r.file.watch.looked = r.file.watch.looked.Add(-reloadPause)
	r.file.mu.Unlock()
	got, err := r.file.GetCertificate(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if got.Leaf.Subject.CommonName != name {
		r.t.Errorf("certificate of %s; want %s", got.Leaf.Subject.CommonName, name)
	}
}

func TestFilesReload(t *testing.T) {
	r := newRotation(t)
	r.serves("first.example")
	other := t.TempDir()
	newIdentity(t, other, "second.example")

	// Half a rotation, checked twice: the old pair, and one warning.
	r.put(other, "cert.pem")
	r.serves("first.example")
	r.serves("first.example")
	if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, &r.log)
	}
	r.put(other, "key.pem")
	r.serves("second.example")
	r.log.Reset()
	r.serves("second.example")

	// A file that is missing, or garbage, and then valid again.
	if err := os.Remove(filepath.Join(r.dir, "cert.pem")); err != nil {
		t.Fatal(err)
	}
	r.serves("second.example")
	if err := os.WriteFile(filepath.Join(r.dir, "cert.pem"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.serves("second.example")
	if n := strings.Count(r.log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings, want 2:\n%s", n, &r.log)
	}
	r.put(other, "cert.pem")
	r.serves("second.example")
	if strings.Contains(r.log.String(), "PRIVATE") {
		t.Errorf("a key is in the log:\n%s", &r.log)
	}
}

// Certbot replaces symbolic links to new files.
func TestFilesReloadLinks(t *testing.T) {
	r := &rotation{t: t, dir: t.TempDir()}
	one, two := t.TempDir(), t.TempDir()
	newIdentity(t, one, "first.example")
	newIdentity(t, two, "second.example")
	point := func(to string) {
		for _, name := range []string{"key.pem", "cert.pem"} {
			link := filepath.Join(r.dir, name)
			if err := os.Symlink(filepath.Join(to, name), link+".new"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(link+".new", link); err != nil {
				t.Fatal(err)
			}
		}
	}
	point(one)
	var err error
	if r.file, err = OpenFiles(filepath.Join(r.dir, "cert.pem"), filepath.Join(r.dir, "key.pem"),
		nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	r.serves("first.example")
	point(two)
	r.file.watch.looked = time.Now().Add(time.Hour) // less than reloadPause ago
	if got := r.file.Current(); got.Leaf.Subject.CommonName != "first.example" {
		t.Error("checked again within reloadPause")
	}
	r.file.watch.looked = time.Now()
	r.serves("second.example")
}

func TestFilesExpired(t *testing.T) {
	dir := t.TempDir()
	i := newIdentity(t, dir, "192.0.2.1")
	made(t, filepath.Join(dir, "cert.pem"), i, time.Now().Add(-identityLife-time.Hour))
	var log bytes.Buffer
	if _, err := OpenFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), nil,
		slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "expired") {
		t.Errorf("no word of the end:\n%s", &log)
	}
}

func TestFilesMissing(t *testing.T) {
	if _, err := OpenFiles("nowhere.pem", "nowhere.key", nil,
		slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened nothing")
	}
}
