package auth

import (
	"encoding/json"
	"time"
)

// maxRevoked is how many revoked tokens are remembered. An older one is refused like any wrong
// token.
const maxRevoked = 1000

// bury replaces a token that is revoked by an entry with which its holder can be told so. Earlier
// versions of this program, which do not know the kind, read that entry as an expired token. The
// caller holds admin and the lock of id.
func (s *Store) bury(id string) error {
	e, _ := s.get(id)
	left := &entry{
		Token: Token{ID: id, Name: e.Name, Kind: kindRevoked, Created: e.Created,
			Expires: time.Now().Round(0)},
		Hash: e.Hash, Former: e.Former,
	}
	if e.Credential != nil { // both are valid until the client presents the credential
		left.Former = e.Credential
	}
	value, err := json.Marshal(left)
	if err != nil {
		return err
	}
	forgotten := s.oldestRevoked()
	if err := s.bucket.Write(map[string][]byte{id: value}, forgotten...); err != nil {
		// The disk may be full. Revoking the token matters more than telling its holder why.
		left = nil
		if s.bucket.Write(nil, id) != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.late, id); left == nil {
		delete(s.tokens, id)
		return nil
	}
	s.tokens[id] = left
	for _, id := range forgotten {
		delete(s.tokens, id)
	}
	return nil
}

// oldestRevoked returns the id of the revoked token to forget when another one is revoked; none
// while fewer than maxRevoked are remembered.
func (s *Store) oldestRevoked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	count, oldest := 0, (*entry)(nil)
	for _, e := range s.tokens {
		if e.Kind != kindRevoked {
			continue
		}
		if count++; oldest == nil || e.Expires.Before(oldest.Expires) {
			oldest = e
		}
	}
	if count < maxRevoked {
		return nil
	}
	return []string{oldest.ID}
}
