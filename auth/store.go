package auth

import (
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

	"tunnel/state"
)

// Store has all tokens. Whatever it acknowledges is in the file; only when a token was last used is written late, with
// the next change and by Close. A nil *Store lets everybody in. All methods may be called concurrently.
type Store struct {
	bucket state.Bucket

	mu     sync.Mutex
	tokens map[string]*entry // by id
	flag   *entry            // of serve --token, nil is none; never in the file
	late   map[string]bool   // ids whose entry is newer than in the file
}

// An entry is a token as the file has it.
type entry struct {
	Token
	Hash []byte `json:"hash"` // SHA-256 of its text: there is nothing to guess in 256 random bits
	// Of a join token that was used: who used it, and what that client got for it.
	Session    []byte `json:"session,omitempty"`    // SHA-256
	Salt       []byte `json:"salt,omitempty"`       //
	Credential []byte `json:"credential,omitempty"` // SHA-256 of its text
}

// flagName is both the name and the id of the token that serve was given.
const flagName = "flag"

// Open returns the Store of what a bucket holds. Close it before the bucket's file.
func Open(bucket state.Bucket) (*Store, error) {
	s := &Store{bucket: bucket, tokens: map[string]*entry{}, late: map[string]bool{}}
	err := bucket.Each(func(id string, value []byte) error {
		var e entry
		if err := json.Unmarshal(value, &e); err != nil || e.ID != id || len(e.Hash) != sha256.Size {
			// To leave it out would let its address go to others, and a later start forget it.
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

// Close writes when each token was last used.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.late) == 0 {
		return nil
	}
	return s.write(nil)
}

// SetFlag adds a token that is not kept: the one that serve was given. It is called before the Store is used.
func (s *Store) SetFlag(text string) {
	sum := hash(text)
	s.flag = &entry{Token: Token{ID: flagName, Name: flagName, Kind: KindToken, Created: time.Now()}, Hash: sum[:]}
}

// Fresh tells whether there never was a token in the file.
func (s *Store) Fresh() (bool, error) {
	exists, err := s.bucket.Exists()
	return !exists, err
}

// write puts changed into the file, and what is late; the caller holds mu. Nothing changes in memory when it fails.
func (s *Store) write(changed *entry, remove ...string) error {
	put := map[string][]byte{}
	add := func(e *entry) error {
		value, err := json.Marshal(e)
		put[e.ID] = value
		return err
	}
	for id := range s.late {
		if err := add(s.tokens[id]); err != nil {
			return err
		}
	}
	if changed != nil {
		if err := add(changed); err != nil {
			return err
		}
	}
	for _, id := range remove {
		delete(put, id)
	}
	if err := s.bucket.Write(put, remove...); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	clear(s.late)
	if changed != nil {
		s.tokens[changed.ID] = changed
	}
	for _, id := range remove {
		delete(s.tokens, id)
	}
	return nil
}

// Create makes a token and returns it with its text, which nobody can find out later. agree, if not nil, may refuse it.
// The name, address and routes of a token that has expired are free.
func (s *Store) Create(spec Spec, agree func(Spec) error) (Token, string, error) {
	now := time.Now()
	if err := spec.check(now); err != nil {
		return Token{}, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var replaced []string
	for id, e := range s.tokens {
		if e.Expired(now) {
			if e.Name == spec.Name {
				replaced = append(replaced, id)
			}
			continue
		}
		if e.Name == spec.Name {
			return Token{}, "", fmt.Errorf("%s: %w", spec.Name, ErrExists)
		}
		if err := spec.conflict(&e.Token); err != nil {
			return Token{}, "", err
		}
	}
	if agree != nil {
		if err := agree(spec); err != nil {
			return Token{}, "", fmt.Errorf("%w: %w", ErrSpec, err)
		}
	}
	e := &entry{Token: Token{
		ID: encode(random(7))[:idLen], Name: spec.Name, Kind: KindToken, Address: spec.Address, Routes: spec.Routes,
		Expires: spec.Expires.Round(0), Created: now.Round(0),
	}}
	if spec.Once {
		e.Kind = KindJoin
	}
	text := tokenText(e.ID, e.Kind, random(32))
	sum := hash(text)
	e.Hash = sum[:]
	if err := s.write(e, replaced...); err != nil {
		return Token{}, "", err
	}
	return e.Token, text, nil
}

// Revoke ends a token. Its live sessions are the caller's to end.
func (s *Store) Revoke(name string) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == flagName && s.flag != nil {
		return Token{}, fmt.Errorf("%w: %q is the token of --token or --token-file: start the server without it", ErrSpec, flagName)
	}
	for id, e := range s.tokens {
		if e.Name == name {
			return e.Token, s.write(nil, id)
		}
	}
	return Token{}, fmt.Errorf("%s: %w", name, ErrUnknown)
}

// List returns all tokens by name, also those that have expired.
func (s *Store) List() []Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Token, 0, len(s.tokens)+1)
	for _, e := range s.tokens {
		all = append(all, e.Token)
	}
	if s.flag != nil {
		all = append(all, s.flag.Token)
	}
	slices.SortFunc(all, func(a, b Token) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Reserved returns the addresses that tokens have for themselves, with the tokens' ids.
func (s *Store) Reserved() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	if s == nil {
		return all
	}
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

// Why a token opens nothing any more.
var (
	ErrRevoked = errors.New("the token was revoked")
	ErrExpired = errors.New("the token has expired")
)

// Check tells whether the token with this id still opens anything: the error is ErrRevoked or ErrExpired. Where everybody is
// let in, "" does.
func (s *Store) Check(id string) error {
	if s == nil && id == "" {
		return nil
	}
	if s == nil {
		return ErrRevoked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := s.find(id); {
	case e == nil:
		return ErrRevoked
	case e.Expired(time.Now()):
		return ErrExpired
	}
	return nil
}

// same compares a hash with a text's, in constant time.
func same(sum [sha256.Size]byte, kept []byte) bool {
	return subtle.ConstantTimeCompare(sum[:], kept) == 1
}
