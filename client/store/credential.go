package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"tunnel/atomicfile"
)

// Credentials stores, by the server's URL, the credentials that this client got for its join
// tokens. They are secrets. A nil *Credentials stores nothing. Only the client that has the lock of
// the Sessions beside it may use the file.
type Credentials struct {
	path string
	kept map[string]string // by URL
}

// OpenCredentials reads the file at path, which need not exist.
func OpenCredentials(path string) (*Credentials, error) {
	c := &Credentials{path: path, kept: map[string]string{}}
	data, err := atomicfile.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &c.kept); err != nil || c.kept == nil {
		return nil, fmt.Errorf("%s is damaged: it has the credential that a server gave this machine",
			path)
	}
	return c, nil
}

// Get returns the credential for the server at url, "" if there is none.
func (c *Credentials) Get(url string) string {
	if c == nil {
		return ""
	}
	return c.kept[url]
}

// Find returns a credential of this file for which match is true, "" if there is none.
func (c *Credentials) Find(match func(url, credential string) bool) string {
	for _, url := range slices.Sorted(maps.Keys(c.kept)) {
		if match(url, c.kept[url]) {
			return c.kept[url]
		}
	}
	return ""
}

// ErrNotKept means that there is no file to store something in.
var ErrNotKept = errors.New("this run keeps nothing")

// Keep stores a credential durably: it survives a power cut.
func (c *Credentials) Keep(url, credential string) error {
	if c == nil {
		return ErrNotKept
	}
	if c.kept[url] == credential {
		return nil
	}
	kept := maps.Clone(c.kept)
	kept[url] = credential
	data, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(c.path, data); err != nil {
		return err
	}
	c.kept = kept
	return nil
}
