package auth

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tunnel/keyed"
	"tunnel/state"
)

// Store holds all tokens. A change is in the file when the method that makes it returns. Only the
// time at which a token was last used is written later, with the next change of that token or by
// Close. All methods may be called concurrently. A caller that waits for the disk delays others
// only if they change the same token, or if both create or revoke one.
type Store struct {
	bucket Bucket
	admin  sync.Mutex // of Create and Revoke; held while they write
	// by id, held to change the file's entry; held while they write, taken after admin
	changing keyed.Mutex[string]

	// guards the rest; taken last, and never held while anything is written
	mu     sync.Mutex
	tokens map[string]*entry // by id
	flag   *entry            // of the token that the server was given, nil if none; never in the file
	late   map[string]bool   // ids whose entry is newer than in the file
}

// Bucket is where a Store keeps tokens: a state.Bucket. A Write that returned nil survives a power
// cut. Its methods may be called concurrently.
type Bucket interface {
	Exists() (bool, error)
	Each(f func(key string, value []byte) error) error
	Write(put map[string][]byte, remove ...string) error
}

// An entry is a token as the file has it.
type entry struct {
	Token
	// SHA-256 of its text: 256 random bits need no slow hash
	Hash []byte `json:"hash"`
	// Of a join token that was used: the client's session, and the credential that it got.
	Session    []byte `json:"session,omitempty"`    // SHA-256
	Salt       []byte `json:"salt,omitempty"`       //
	Credential []byte `json:"credential,omitempty"` // SHA-256 of its text
	// The join token that a credential replaced, or the credential of a revoked join token.
	Former []byte `json:"former,omitempty"` // SHA-256 of its text
}

// flagName is both the name and the id of the token that was configured for the server.
const flagName = "flag"

// Open returns the Store of what a bucket holds. Close it before the bucket's file.
func Open(bucket Bucket) (*Store, error) {
	s := &Store{bucket: bucket, tokens: map[string]*entry{}, late: map[string]bool{}}
	err := bucket.Each(func(id string, value []byte) error {
		var e entry
		if err := json.Unmarshal(value, &e); err != nil || e.ID != id ||
			len(e.Hash) != sha256.Size {
			// If it were left out, its address could be given to others, and a later start would
			// forget it.
			return fmt.Errorf("%w: token %q cannot be read", state.ErrDamaged, id)
		}
		s.tokens[id] = &e
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return s, nil
}

// Close writes the times at which tokens were last used. No method may be called after it.
func (s *Store) Close() error {
	put := map[string][]byte{}
	s.mu.Lock()
	for id := range s.late {
		value, err := json.Marshal(s.tokens[id])
		if err != nil {
			s.mu.Unlock()
			return fmt.Errorf("write tokens: %w", err)
		}
		put[id] = value
	}
	clear(s.late)
	s.mu.Unlock()
	if len(put) == 0 {
		return nil
	}
	if err := s.bucket.Write(put); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return nil
}

// SetFlag replaces the token that was configured for the server, which is not written to the file;
// "" is none, and ends the sessions of the former like Revoke. Those of another go on. The same
// again changes nothing.
func (s *Store) SetFlag(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text == "" {
		s.flag = nil
		return
	}
	sum := hash(text)
	if s.flag != nil && bytes.Equal(s.flag.Hash, sum[:]) {
		return
	}
	s.flag = &entry{Token: Token{ID: flagName, Name: flagName, Kind: KindToken,
		Created: time.Now()}, Hash: sum[:]}
}

// Fresh reports whether no token was ever written to the file.
func (s *Store) Fresh() (bool, error) {
	exists, err := s.bucket.Exists()
	return !exists, err
}

// put makes e the entry with its id, in the file and then in memory, and removes others. Nothing
// changes when it fails. The caller holds the locks of all these ids, and not mu.
func (s *Store) put(e *entry, remove ...string) error {
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	if err := s.bucket.Write(map[string][]byte{e.ID: value}, remove...); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.tokens[e.ID]; old != nil && old.Used.After(e.Used) {
		e.Used = old.Used // used in the meantime
	}
	s.tokens[e.ID] = e
	for _, id := range remove {
		delete(s.tokens, id)
		delete(s.late, id)
	}
	return nil
}

// get returns a copy of the entry with this id; ok is false if there is none.
func (s *Store) get(id string) (e entry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.tokens[id]; e != nil {
		return *e, true
	}
	return entry{}, false
}

// Create makes a token and returns it with its text, which is not stored. agree, if not nil, may
// refuse the token. The name, address and routes of expired tokens are free.
func (s *Store) Create(spec Spec, agree func(Spec) error) (Token, string, error) {
	now := time.Now()
	if err := spec.check(now); err != nil {
		return Token{}, "", err
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	var replaced []string
	for _, t := range s.List() {
		if t.Name == spec.Name && t.Expired(now) && t.ID != flagName {
			// a join token that is first used just now no longer expires
			defer s.changing.Lock(t.ID)()
			replaced = append(replaced, t.ID)
		}
	}
	for _, t := range s.List() {
		switch {
		case t.ID == flagName, t.Expired(now):
			continue
		case t.Name == spec.Name:
			return Token{}, "", fmt.Errorf("%s: %w", spec.Name, ErrExists)
		}
		if err := spec.conflict(&t); err != nil {
			return Token{}, "", err
		}
	}
	if agree != nil {
		if err := agree(spec); err != nil {
			return Token{}, "", fmt.Errorf("%w: %w", ErrSpec, err)
		}
	}
	e := &entry{Token: Token{
		ID: encode(random(7))[:idLen], Name: spec.Name, Kind: KindToken, Address: spec.Address,
		Routes: spec.Routes, PushRoutes: spec.PushRoutes, DNS: spec.DNS, Domains: spec.Domains,
		Expires: spec.Expires.Round(0), Created: now.Round(0), MaxSessions: spec.MaxSessions,
		CertCN: spec.CertCN,
	}}
	if spec.Once {
		e.Kind = KindJoin
	}
	text := tokenText(e.ID, e.Kind, random(32))
	sum := hash(text)
	e.Hash = sum[:]
	made := e.Token
	if err := s.put(e, replaced...); err != nil {
		return Token{}, "", err
	}
	return made, text, nil
}

// Revoke ends a token. The caller ends its sessions.
func (s *Store) Revoke(name string) (Token, error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	all := s.List()
	i := slices.IndexFunc(all, func(t Token) bool { return t.Name == name })
	if i < 0 {
		return Token{}, fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	id := all[i].ID
	if id == flagName {
		return Token{},
			fmt.Errorf("%s: %w", flagName, ErrGiven)
	}
	defer s.changing.Lock(id)()
	if err := s.bury(id); err != nil {
		return Token{}, fmt.Errorf("write tokens: %w", err)
	}
	return all[i], nil
}

// List returns all tokens by name, with those that have expired, without those that were revoked.
func (s *Store) List() []Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Token, 0, len(s.tokens)+1)
	for _, e := range s.tokens {
		if e.Kind != kindRevoked {
			all = append(all, e.Token)
		}
	}
	if s.flag != nil {
		all = append(all, s.flag.Token)
	}
	slices.SortFunc(all, func(a, b Token) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Reserved returns the addresses that are reserved for tokens, each with the token's id.
func (s *Store) Reserved() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	now := time.Now()
	for _, t := range s.List() {
		if t.Address.IsValid() && !t.Expired(now) {
			all[t.Address] = t.ID
		}
	}
	return all
}

// find returns the entry with this id, nil if there is none; the caller holds mu.
func (s *Store) find(id string) *entry {
	if id == flagName {
		return s.flag
	}
	return s.tokens[id]
}

// Why a token is no longer valid.
var (
	ErrRevoked = errors.New("the token was revoked")
	ErrExpired = errors.New("the token has expired")
)

// Check returns ErrRevoked or ErrExpired if the token with this id is no longer valid.
func (s *Store) Check(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := s.find(id); {
	case e == nil, e.Kind == kindRevoked:
		return ErrRevoked
	case e.Expired(time.Now()):
		return ErrExpired
	}
	return nil
}

// same reports whether two hashes are equal, in constant time.
func same(sum [sha256.Size]byte, kept []byte) bool {
	return subtle.ConstantTimeCompare(sum[:], kept) == 1
}
