package auth

import (
	"encoding/json"
	"time"
)

// maxRevoked is how many revoked tokens are remembered. The holder of one that was revoked before
// these hears what any wrong token hears.
const maxRevoked = 1000

// bury replaces a token by what is left of it when it is revoked: enough to tell its holder so. An
// earlier version of this program, which does not know the kind, takes it for one that has expired.
// The caller holds admin and the lock of id.
func (s *Store) bury(id string) error {
	e, _ := s.get(id)
	left := &entry{
		Token: Token{ID: id, Name: e.Name, Kind: kindRevoked, Created: e.Created,
			Expires: time.Now().Round(0)},
		Hash: e.Hash, Former: e.Former,
	}
	if e.Credential != nil { // both open it until the client has come with the credential
		left.Former = e.Credential
	}
	value, err := json.Marshal(left)
	if err != nil {
		return err
	}
	forgotten := s.oldestRevoked()
	if err := s.bucket.Write(map[string][]byte{id: value}, forgotten...); err != nil {
		// It may be the room on the disk, and that it is revoked matters more than what its holder
		// hears.
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

// oldestRevoked returns the id of the token that is forgotten when another is revoked; none while
// there is room.
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
