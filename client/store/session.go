// Package store keeps a client's sessions, and the credentials for its join tokens, between runs.
package store

import (
	"crypto/rand"
	"encoding/base64"
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

// ErrInUse means that another running client has locked the session file.
var ErrInUse = errors.New("another client uses it")

// Sessions stores the session with each server, so that a restarted client gets its address back.
// It holds secrets. A nil *Sessions stores nothing.
type Sessions struct {
	file  *atomicfile.Locked
	known map[string]netip.Addr // what to save as content.Known; nil leaves that as it is
}

// Session is a session as a file holds it.
type Session struct {
	URL     string     `json:"url"` // of the server
	Session string     `json:"session"`
	Address netip.Addr `json:"address"`

	// the granted network that this machine accepted
	Network netip.Prefix `json:"network,omitzero"`
}

// NewSession returns 128 random bits as text. The client chooses the id of its session, because a
// join token is bound to the first session that uses it, and an answer with an id chosen by the
// server could be lost.
func NewSession() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// content is what a session file holds: the last session, and those with other servers, newest
// first.
type content struct {
	Session

	Others []Session `json:"others,omitempty"`

	// Known are the last addresses of the host names on the path to a server, for a start at which
	// the DNS server cannot be reached: it may be inside the tunnel.
	Known map[string]netip.Addr `json:"known,omitempty"`
}

// maxOthers and MaxKnown bound the file, which outlives the URLs that were tried.
const (
	maxOthers = 7
	MaxKnown  = 16
)

// lockTimeout is how long a client waits for one before it that was killed and is still exiting.
const lockTimeout = time.Second

// maxSession is the most bytes of the file that are read.
const maxSession = 1 << 20

// OpenSessions opens the file at path, creating it with mode 0600 if it does not exist, and locks
// it: two clients with one session would disconnect each other for ever. The error is ErrInUse,
// wrapped, if another client holds the lock for longer than lockTimeout.
func OpenSessions(path string) (*Sessions, error) {
	file, err := atomicfile.Lock(path, os.O_CREATE, lockTimeout)
	if errors.Is(err, atomicfile.ErrLocked) {
		return nil, fmt.Errorf("lock %s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, err // an os.PathError needs no context
	}
	return &Sessions{file: file}, nil
}

// Load returns the session with the server at url, the zero value if there is none or it cannot be
// read.
func (s *Sessions) Load(url string) Session {
	for _, v := range s.all() {
		if v.URL == url {
			return v
		}
	}
	return Session{}
}

// all returns the sessions, newest first; none if the file cannot be read.
func (s *Sessions) all() []Session {
	v, ok := s.read()
	if !ok {
		return nil
	}
	return append([]Session{v.Session}, v.Others...)
}

// read returns the content of the file; ok is false if it cannot be read.
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

// Names returns the last known addresses by host name.
func (s *Sessions) Names() map[string]netip.Addr {
	v, _ := s.read()
	return v.Known
}

// Learn sets the addresses by host name that the next Save stores.
func (s *Sessions) Learn(known map[string]netip.Addr) {
	if s != nil {
		s.known = known
	}
}

// Save stores the session with the server at url.
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
	data, err := json.Marshal(content{v, fewer(others), known})
	if err != nil {
		return err
	}
	return s.file.Replace(data, true)
}

// fewer returns maxOthers of the sessions at most. Those without an address, whose server was never
// reached, go first, and then the oldest: a URL that was mistyped costs no server's address.
func fewer(all []Session) []Session {
	for len(all) > maxOthers {
		drop := len(all) - 1
		for i := drop; i >= 0; i-- {
			if !all[i].Address.IsValid() {
				drop = i
				break
			}
		}
		all = slices.Delete(all, drop, drop+1)
	}
	return all
}

// Close unlocks the file.
func (s *Sessions) Close() {
	if s != nil {
		_ = s.file.Close()
	}
}
