// Package bundle writes what a person sends who asks for help: texts about a machine in one file,
// without secrets.
package bundle

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"regexp"
	"time"

	"tunnel/auth"
	"tunnel/transport/redact"
)

// dir is the directory in the archive.
const dir = "tunnel-doctor"

// A File is one text of the archive.
type File struct {
	Name string
	Text []byte
}

// Write writes files as tar.gz, each without secrets: see Scrub.
func Write(w io.Writer, now time.Time, files []File, secrets redact.Set) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		text := Scrub(f.Text, secrets)
		err := archive.WriteHeader(&tar.Header{Name: path.Join(dir, f.Name), Mode: 0o600,
			Size: int64(len(text)), ModTime: now, Format: tar.FormatPAX})
		if err != nil {
			return err
		}
		if _, err := archive.Write(text); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zipped.Close())
}

// Scrub returns a text without secrets. An ellipsis is in the place of the secrets that are given,
// of tokens that this program has made, of what stands before the @ of a URL and behind its
// question mark, of what follows the name of a header for a login, and of private keys in PEM.
func Scrub(text []byte, secrets redact.Set) []byte {
	text = []byte(secrets.Hide(string(text)))
	for _, p := range []struct{ find, put string }{
		{`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)`, "…"},
		{`(//)[^/\s"'@]+@`, "${1}…@"},
		{`(\w://[^\s"'?#]*)[?#][^\s"']+`, "${1}?…"},
		{`(?i)((?:proxy-|tunnel-)?authorization\s*[:=]\s*)[^\r\n",}]+`, "${1}…"},
		{`(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=_.~-]{4,}`, "${1} …"},
	} {
		text = regexp.MustCompile(p.find).ReplaceAll(text, []byte(p.put))
	}
	return auth.Redact(text)
}
