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

// Store has all tokens. Whatever it acknowledges is in the file; only when a token was last used is written late, by
// the next Create or Revoke and by Close. A nil *Store lets everybody in. All methods may be called concurrently.
type Store struct {
	bucket Bucket

	// making is held by Create and Revoke, whose conditions are about all tokens, while they write too: only
	// administrators wait for it.
	making sync.Mutex

	// mu is never held while the file is written: every login takes it.
	mu      sync.Mutex
	tokens  map[string]*entry // by id
	flag    *entry            // of serve --token, nil is none; never in the file
	late    map[string]bool   // ids whose entry is newer than in the file
	claimed map[string]bool   // ids whose entry is being written
	freed   *sync.Cond        // on mu: claimed has become less
}

// Bucket is what a Store needs of a state.Bucket, whose method comments hold.
type Bucket interface {
	Exists() (bool, error)
	Each(f func(key string, value []byte) error) error
	Write(put map[string][]byte, remove ...string) error
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
func Open(bucket Bucket) (*Store, error) {
	s := &Store{bucket: bucket, tokens: map[string]*entry{}, late: map[string]bool{}, claimed: map[string]bool{}}
	s.freed = sync.NewCond(&s.mu)
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
	late, ids := s.claimLate()
	defer s.unclaim(ids...)
	if len(late) == 0 {
		return nil
	}
	return s.write(late)
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

// claim waits until nobody writes the entry with this id, and keeps others from doing so until unclaim. The
// caller holds mu, which is let go meanwhile.
func (s *Store) claim(id string) {
	for s.claimed[id] {
		s.freed.Wait()
	}
	s.claimed[id] = true
}

// unclaim ends what claim has begun; the caller holds mu.
func (s *Store) unclaim(ids ...string) {
	for _, id := range ids {
		delete(s.claimed, id)
	}
	s.freed.Broadcast()
}

// claimLate claims what is newer than in the file and written by nobody, and returns it with its ids, for
// unclaim; the caller holds mu.
func (s *Store) claimLate() (late []*entry, ids []string) {
	for id := range s.late {
		if !s.claimed[id] {
			s.claimed[id] = true
			late, ids = append(late, s.tokens[id]), append(ids, id)
		}
	}
	return late, ids
}

// write puts entries into the file and removes ids from it, all of which the caller has claimed. The caller
// holds mu, which is let go meanwhile: until write returns others see what was before. Nothing changes in
// memory when it fails.
func (s *Store) write(entries []*entry, remove ...string) error {
	put, used := map[string][]byte{}, map[string]time.Time{}
	for _, e := range entries {
		value, err := json.Marshal(e)
		if err != nil {
			return err
		}
		put[e.ID], used[e.ID] = value, e.Used
	}
	s.mu.Unlock()
	err := s.bucket.Write(put, remove...)
	s.mu.Lock()
	if err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	for _, e := range entries {
		if before := s.tokens[e.ID]; before != nil {
			e.Used = before.Used // it may have been used meanwhile
		}
		s.tokens[e.ID] = e
		if e.Used.Equal(used[e.ID]) {
			delete(s.late, e.ID)
		}
	}
	for _, id := range remove {
		delete(s.tokens, id)
		delete(s.late, id)
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
	s.making.Lock()
	defer s.making.Unlock()
	var disagrees error
	if agree != nil {
		disagrees = agree(spec)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.named(spec.Name); e != nil { // a join token that expires may just have been used in time
		s.claim(e.ID)
		s.unclaim(e.ID)
	}
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
	if disagrees != nil {
		return Token{}, "", fmt.Errorf("%w: %w", ErrSpec, disagrees)
	}
	e := &entry{Token: Token{
		ID: encode(random(7))[:idLen], Name: spec.Name, Kind: KindToken, Address: spec.Address, Routes: spec.Routes,
		Expires: spec.Expires.Round(0), Created: now.Round(0),
		CertCN: spec.CertCN,
	}}
	if spec.Once {
		e.Kind = KindJoin
	}
	text := tokenText(e.ID, e.Kind, random(32))
	sum := hash(text)
	e.Hash = sum[:]
	for _, id := range append(replaced, e.ID) {
		s.claim(id)
		defer s.unclaim(id)
	}
	late, ids := s.claimLate()
	defer s.unclaim(ids...)
	if err := s.write(append(late, e), replaced...); err != nil {
		return Token{}, "", err
	}
	return e.Token, text, nil
}

// Revoke ends a token. Its live sessions are the caller's to end.
func (s *Store) Revoke(name string) (Token, error) {
	s.making.Lock()
	defer s.making.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == flagName && s.flag != nil {
		return Token{}, fmt.Errorf("%w: %q is the token of --token or --token-file: start the server without it", ErrSpec, flagName)
	}
	e := s.named(name)
	if e == nil {
		return Token{}, fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	s.claim(e.ID)
	defer s.unclaim(e.ID)
	late, ids := s.claimLate()
	defer s.unclaim(ids...)
	return e.Token, s.write(late, e.ID)
}

// named returns the entry with that name, nil if there is none; the caller holds mu.
func (s *Store) named(name string) *entry {
	for _, e := range s.tokens {
		if e.Name == name {
			return e
		}
	}
	return nil
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
