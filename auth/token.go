// Package auth knows who may come in: tokens, each with a name and what it allows. It keeps their
// hashes only.
package auth

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// MinTokenLen is the least number of bytes in a token of somebody's own making: below that it is
// guessed, not known.
const MinTokenLen = 16

// A token's text is tokenPrefix, its id, and 256 random bits: "tnl_ID_SECRET". The id is no secret.
// It finds the token, so that the secret is compared with one hash, in constant time, and never
// searched for. A join token has joinMark before the secret: its client must know by itself that it
// comes with one, see Exchanges.
const (
	tokenPrefix = "tnl_"
	idLen       = 10 // characters: 50 bits, enough for ids not to meet
	joinMark    = "join_"
)

// A Kind is what a token is for.
type Kind string

// The kinds of tokens.
const (
	KindToken      Kind = "token"      // admits every client that has it
	KindJoin       Kind = "join"       // opens it to the first who uses it; see Store.Join
	KindCredential Kind = "credential" // what became of a join token: opens it to that one client
	kindRevoked    Kind = "revoked"    // opens nothing: its holder is told so
)

// Token is what is known of a token; its secret is not.
type Token struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Kind    Kind       `json:"kind"`
	Address netip.Addr `json:"address,omitzero"` // reserved for it; the zero Addr is none
	// its client may send from these, and gets what is for them
	Routes  []netip.Prefix `json:"routes,omitempty"`
	Expires time.Time      `json:"expires,omitzero"` // the zero Time is never
	Created time.Time      `json:"created"`
	Used    time.Time      `json:"used,omitzero"` // last; the zero Time is never

	// common name of the only client certificate that opens it; "" is any or none
	CertCN string `json:"cert_cn,omitempty"`
	// MaxSessions is how many clients may be connected with it at once, 0 any number; nil leaves it
	// to the server.
	MaxSessions *int `json:"max_sessions,omitempty"`
}

// Expired reports whether t has expired at a time.
func (t *Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Anonymous reports whether t is the token of AllowAll, which all clients share.
func (t *Token) Anonymous() bool { return t.ID == "" }

// Sole reports whether t stands for one client: each connection with it is that client, and takes
// the place of the connection before. Other tokens may be shared by several clients, which are told
// apart by their sessions.
func (t *Token) Sole() bool {
	return t.Kind != KindToken || t.Address.IsValid() ||
		len(t.Routes) > 0
}

// ID returns the id in a token's text, "" if it is a text of somebody's own making. A join token
// and the credential that came of it have the same.
func ID(text string) string {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(rest) <= idLen || rest[idLen] != '_' {
		return ""
	}
	return rest[:idLen]
}

// Exchanges reports whether credential can be what became of token: token is a join token by its
// text, and credential is not, and has the same id.
func Exchanges(token, credential string) bool {
	id := ID(token)
	return id != "" && id == ID(credential) && isJoin(token) && !isJoin(credential)
}

// IsJoin reports whether a token is a join token, by its text.
func IsJoin(token string) bool { return ID(token) != "" && isJoin(token) }

// isJoin reports whether the text of a token, which has an id, says that it is a join token.
func isJoin(text string) bool {
	return strings.HasPrefix(text[len(tokenPrefix)+idLen+1:],
		joinMark)
}

// tokenText puts a token together.
func tokenText(id string, kind Kind, secret []byte) string {
	mark := ""
	if kind == KindJoin {
		mark = joinMark
	}
	return tokenPrefix + id + "_" + mark + encode(secret)
}

// encode writes bytes with small letters and digits only: a double click takes all of it.
func encode(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// random returns n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// credentialOf returns the lasting credential of the client that used a join token. It is computed
// and not drawn, so that a client that crashed before it had stored it gets the same again, while
// the server keeps nothing but a salt.
func credentialOf(id, join, session string, salt []byte) string {
	mac := hmac.New(sha256.New, []byte(join))
	mac.Write(salt)
	mac.Write([]byte(session))
	return tokenText(id, KindCredential, mac.Sum(nil))
}

func hash(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// TokenHeader carries the token where Authorization is for a proxy in front.
const TokenHeader = "Tunnel-Authorization"

// bearer returns the token that a request carries (RFC 6750 section 2.1), "" if none. TokenHeader
// goes before Authorization, which may then be anybody's.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(cmp.Or(r.Header.Get(TokenHeader),
		r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Carries reports whether a request has a token, be it right or wrong.
func Carries(r *http.Request) bool { return bearer(r) != "" }

// NewSecret returns 128 random bits as text that can stand in a URL, a shell word or JSON.
func NewSecret() string { return base64.RawURLEncoding.EncodeToString(random(16)) }
