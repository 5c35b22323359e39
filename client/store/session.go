// Package store keeps between runs what a client has of its servers: its sessions, and the
// credentials for its join tokens.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"tunnel/atomicfile"
)

// ErrInUse says that a client that is running has the session file.
var ErrInUse = errors.New("another client uses it")

// Sessions keeps the session with each server between runs, so that a client that was restarted
// gets its address back. It holds secrets. A nil *Sessions keeps nothing.
type Sessions struct {
	file  *atomicfile.Locked
	known map[string]netip.Addr // what to save as content.Known; nil leaves that as it is
}

// Session is a session as a file holds it.
type Session struct {
	URL     string     `json:"url"` // whose session it is
	Session string     `json:"session"`
	Address netip.Addr `json:"address"`

	// that the server has granted and this machine has taken
	Network netip.Prefix `json:"network,omitzero"`
}

// content is what a session file holds: the session that was Session last, and those with other
// servers, newest first.
type content struct {
	Session

	Others []Session `json:"others,omitempty"`

	// Known is what the names on the path to a server resolved to last time, by host, for a start
	// at which the name server cannot be reached: it may lie inside the tunnel.
	Known map[string]netip.Addr `json:"known,omitempty"`
}

// maxOthers and MaxKnown bound the file: it outlives the URLs that a person has tried.
const (
	maxOthers = 7
	MaxKnown  = 16
)

// lockTimeout is how long a client waits for the one before it, which takes a moment to go when it
// was killed.
const lockTimeout = time.Second

// maxSession bounds what is read of the file, in bytes.
const maxSession = 1 << 20

// OpenSessions opens the file at path, made with mode 0600 if there is none, and locks it: two
// clients with one session would throw each other out for ever. The error is ErrInUse, wrapped,
// when another client has it, and goes on having it for lockTimeout.
func OpenSessions(path string) (*Sessions, error) {
	file, err := atomicfile.Lock(path, os.O_CREATE, lockTimeout)
	if errors.Is(err, atomicfile.ErrLocked) {
		return nil, fmt.Errorf("lock %s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, err // an os.PathError says it all
	}
	return &Sessions{file: file}, nil
}

// Load returns the session with the server at url; the zero value when there is none, or none that
// can be read.
func (s *Sessions) Load(url string) Session {
	for _, v := range s.all() {
		if v.URL == url {
			return v
		}
	}
	return Session{}
}

// all returns the sessions, newest first; none when the file cannot be read.
func (s *Sessions) all() []Session {
	v, ok := s.read()
	if !ok {
		return nil
	}
	return append([]Session{v.Session}, v.Others...)
}

// read returns what the file holds; false when it cannot be read.
func (s *Sessions) read() (v content, ok bool) {
	if s == nil {
		return content{}, false
	}
	data, err := s.file.Read(maxSession)
	if err != nil || json.Unmarshal(data, &v) != nil {
		return content{}, false
	}
	return v, true
}

// Names returns the addresses that hosts had last time.
func (s *Sessions) Names() map[string]netip.Addr {
	v, _ := s.read()
	return v.Known
}

// Learn has the next save keep the addresses that hosts have.
func (s *Sessions) Learn(known map[string]netip.Addr) {
	if s != nil {
		s.known = known
	}
}

// Save puts the session with the server at url into the file.
func (s *Sessions) Save(url string, v Session) error {
	if s == nil {
		return nil
	}
	v.URL = url
	all := s.all()
	before, _ := s.read()
	known := s.known
	if known == nil {
		known = before.Known
	}
	if len(all) > 0 && all[0] == v && maps.Equal(known, before.Known) {
		return nil
	}
	others := slices.DeleteFunc(all, func(o Session) bool { return o.URL == url || o.URL == "" })
	data, err := json.Marshal(content{v, others[:min(len(others), maxOthers)], known})
	if err != nil {
		return err
	}
	return s.file.Replace(data, true)
}

// Close unlocks the file.
func (s *Sessions) Close() {
	if s != nil {
		_ = s.file.Close()
	}
}
