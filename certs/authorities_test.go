package certs

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The file is used when it is complete; that it is not is logged once.
func TestAuthoritiesReload(t *testing.T) {
	dir := t.TempDir()
	pem := func(name string) []byte {
		newIdentity(t, filepath.Join(dir, name), name)
		data, err := os.ReadFile(filepath.Join(dir, name, "cert.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := pem("a"), pem("b"), pem("c")
	file := filepath.Join(dir, "ca.pem")
	put := func(data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	put(a)
	all, err := OpenAuthorities(file, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	pool := func(data ...[]byte) *x509.CertPool {
		p := x509.NewCertPool()
		for _, d := range data {
			p.AppendCertsFromPEM(d)
		}
		return p
	}
	holds := func(what string, want *x509.CertPool, lines int) {
		t.Helper()
		for range 2 {
			all.watch.looked = time.Time{}
			if !all.Pool().Equal(want) {
				t.Errorf("%s: other authorities are in use", what)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != lines {
			t.Errorf("%s: %d lines of log, want %d\n%s", what, n, lines, log.String())
		}
		log.Reset()
	}
	holds("at first", pool(a), 0)
	put(append([]byte("# two of them\n"), append(a, b...)...))
	holds("one more", pool(a, b), 1)
	for what, data := range map[string][]byte{
		"half of the last":  append(bytes.Clone(c), b[:len(b)/2]...),
		"half of the first": append(bytes.Clone(b[:len(b)/2]), c...),
		"no certificate":    []byte("nothing\n"),
		"nothing":           {},
		"a damaged one":     bytes.Replace(c, []byte("MII"), []byte("AII"), 1),
		"a line out of its text": append(bytes.Clone(c),
			bytes.Join(bytes.Split(b, []byte("\n"))[1:], []byte("\n"))...),
	} {
		put(data)
		if what == "a line out of its text" { // no BEGIN: it is text between certificates
			holds(what, pool(c), 1)
			continue
		}
		before := all.Pool()
		holds(what, before, 1)
		if _, err := OpenAuthorities(file, nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: a server starts with it", what)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	holds("no file", all.pool, 1)
	put(b)
	holds("another", pool(b), 1)
}
