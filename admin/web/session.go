package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// CodeLife is how long a code logs in.
const CodeLife = 10 * time.Minute

const (
	sessionLife = 12 * time.Hour // at most
	sessionIdle = time.Hour      // without a request; a page that is visible makes some
	maxCodes    = 16             // the oldest goes
	maxSessions = 32             // the one that was used last the longest ago goes
)

// logins are the codes and sessions of a page, in memory only. The zero logins has none.
type logins struct {
	mu       sync.Mutex
	codes    []code
	sessions []session
}

// code logs in once.
type code struct {
	sum  [sha256.Size]byte // of its text
	ends time.Time
}

// session is that of one browser.
type session struct {
	sum         [sha256.Size]byte // of its cookie
	place       string            // in the paths of its pages
	csrf        string            // in each form of its pages
	id          string            // in the log; no secret
	source      netip.Prefix      // of its latest request
	began, used time.Time
}

// sent reports whether a form has the token of the session.
func (s session) sent(csrf string) bool {
	return subtle.ConstantTimeCompare([]byte(csrf), []byte(s.csrf)) == 1
}

// over reports whether the session has ended at now.
func (s session) over(now time.Time) bool {
	return now.Sub(s.began) >= sessionLife || now.Sub(s.used) >= sessionIdle
}

func (l *logins) newCode(now time.Time) string {
	text := secret()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes = slices.DeleteFunc(l.codes, func(c code) bool { return !now.Before(c.ends) })
	if len(l.codes) >= maxCodes {
		l.codes = slices.Delete(l.codes, 0, 1)
	}
	l.codes = append(l.codes, code{sha256.Sum256([]byte(text)), now.Add(CodeLife)})
	return text
}

// redeem uses a code up, and returns a new session and its cookie; ok is false if there is no such
// code.
func (l *logins) redeem(text string, now time.Time) (_ session, cookie string, ok bool) {
	sum := sha256.Sum256([]byte(text))
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.codes, func(c code) bool { return same(c.sum, sum) })
	if i < 0 {
		return session{}, "", false
	}
	ends := l.codes[i].ends
	l.codes = slices.Delete(l.codes, i, i+1)
	if !now.Before(ends) {
		return session{}, "", false
	}
	l.sessions = slices.DeleteFunc(l.sessions, func(s session) bool { return s.over(now) })
	if len(l.sessions) >= maxSessions {
		idlest := slices.MinFunc(l.sessions, func(a, b session) int { return a.used.Compare(b.used) })
		l.remove(idlest.sum)
	}
	cookie = secret()
	s := session{sum: sha256.Sum256([]byte(cookie)), place: secret(), csrf: secret(),
		id: secret()[:8], began: now, used: now}
	l.sessions = append(l.sessions, s)
	return s, cookie, true
}

// session returns the session of a place and a cookie, and notes that it was used from a source; ok
// is false if there is none.
func (l *logins) session(place, cookie string, from netip.Prefix) (_ session, ok bool) {
	sum, now := sha256.Sum256([]byte(cookie)), time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.sessions, func(s session) bool {
		return same(s.sum, sum) && subtle.ConstantTimeCompare([]byte(s.place), []byte(place)) == 1
	})
	if i < 0 || l.sessions[i].over(now) {
		return session{}, false
	}
	l.sessions[i].used, l.sessions[i].source = now, from
	return l.sessions[i], true
}

// knows reports whether a source has a session.
func (l *logins) knows(source netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.sessions, func(s session) bool {
		return s.source == source && !s.over(time.Now())
	})
}

// endAll ends all sessions, and takes all codes back.
func (l *logins) endAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes, l.sessions = nil, nil
}

// end ends a session.
func (l *logins) end(s session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(s.sum)
}

// remove is end for a caller that holds mu.
func (l *logins) remove(sum [sha256.Size]byte) {
	l.sessions = slices.DeleteFunc(l.sessions, func(s session) bool { return same(s.sum, sum) })
}

// same reports whether two hashes are equal, in constant time.
func same(a, b [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// secret returns 256 random bits as text that needs no quoting in a URL.
func secret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}
