// Package audit keeps what a hub has done for whom: entries about tokens, sessions and refused
// logins. A Recorder takes them without waiting, and passes them on to who writes them.
// docs/AUDIT.md documents their JSON; a field is added, never renamed.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"tunnel/auth"
)

// Event is what an entry is about.
type Event string

// The events.
const (
	HubStarted     Event = "hub_started"
	HubStopped     Event = "hub_stopped"
	TokenCreated   Event = "token_created"
	TokenChanged   Event = "token_changed"
	TokenRevoked   Event = "token_revoked"
	InvitationUsed Event = "invitation_used" // a join token has become a client's credential
	Kicked         Event = "kicked"
	ConfigReloaded Event = "config_reloaded"
	StateRead      Event = "state_read"     // all tokens and addresses, for a backup
	StateRestored  Event = "state_restored" // from a backup
	SessionStarted Event = "session_started"
	SessionEnded   Event = "session_ended"
	Refused        Event = "refused"         // a login
	RefusedOmitted Event = "refused_omitted" // entries about refused logins that were left out
	// entries about begins and ends of sessions that were left out
	SessionsOmitted Event = "sessions_omitted"
	EntriesLost     Event = "entries_lost" // entries that could not be kept or written
)

// Events returns all events.
func Events() []Event {
	return []Event{ConfigReloaded, StateRead, StateRestored,
		HubStarted, HubStopped, TokenCreated, TokenChanged, TokenRevoked, InvitationUsed,
		Kicked, SessionStarted, SessionEnded, Refused, RefusedOmitted, SessionsOmitted, EntriesLost}
}

// Entry is one line of the audit log. Fields that an event does not have are left out.
type Entry struct {
	Time  time.Time `json:"time"` // in UTC
	Event Event     `json:"event"`
	Dev   string    `json:"dev,omitempty"` // the hub's device; "" if no hub ran

	// who did it on this machine; nil if it was a client, or the hub itself
	UID  *uint32 `json:"uid,omitempty"`
	User string  `json:"user,omitempty"` // its name, if this machine knows one
	// who has logged in as somebody else before, as with sudo; nil if the kernel does not know
	Login     *uint32 `json:"login_uid,omitempty"`
	LoginUser string  `json:"login_user,omitempty"`

	Token   string `json:"token,omitempty"`    // its name
	TokenID string `json:"token_id,omitempty"` // which is not secret
	Kind    string `json:"token_kind,omitempty"`
	Grant   *Grant `json:"grant,omitempty"` // of a token that was created or changed

	// the session's number, from 1 on since the hub's start
	Session uint64     `json:"session,omitempty"`
	Address netip.Addr `json:"address,omitzero"` // of the client in the private network
	Remote  string     `json:"remote,omitempty"` // where it connects from
	// of the first connection, as far as the next machine that ends TLS: "1.3", or "none"
	TLS     string `json:"tls,omitempty"`
	Subject string `json:"cert_subject,omitempty"` // of its certificate (RFC 4514)

	Reason string `json:"reason,omitempty"` // why it ended, or was refused
	Detail string `json:"detail,omitempty"` // the error behind the reason
	End    *End   `json:"end,omitempty"`    // of a session that has ended

	Sessions int               `json:"sessions,omitempty"` // that a kick has ended
	Omitted  map[string]uint64 `json:"omitted,omitempty"`  // entries left out, by their reasons
	Lost     uint64            `json:"lost,omitempty"`     // entries
}

// Grant is what a token allows: of a new token all, of a changed one what is other than before.
type Grant struct {
	Address     netip.Addr      `json:"address,omitzero"`
	Routes      *[]netip.Prefix `json:"routes,omitempty"`
	PushRoutes  *[]netip.Prefix `json:"push_routes,omitempty"`
	DNS         *[]netip.Addr   `json:"dns,omitempty"`
	Domains     *[]string       `json:"domains,omitempty"`
	Expires     time.Time       `json:"expires,omitzero"`
	CertCN      string          `json:"cert_cn,omitempty"`
	MaxSessions *int            `json:"max_sessions,omitempty"`
}

// End is what a session has been.
type End struct {
	Started time.Time `json:"started"` // in UTC
	Seconds float64   `json:"seconds"` // that it lasted
	// bytes of its connections, with TLS and framing: to the client, and from it
	Sent     uint64 `json:"sent_bytes"`
	Received uint64 `json:"received_bytes"`
	Dropped  uint64 `json:"dropped_packets"` // to the client, by its queue
}

// EndOf returns the End of a session that began then and ends now.
func EndOf(began time.Time, sent, received, dropped uint64) *End {
	return &End{
		Started: began.UTC().Round(0), Seconds: float64(time.Since(began).Milliseconds()) / 1000,
		Sent: sent, Received: received, Dropped: dropped,
	}
}

// OfToken returns an entry about a token. That of a new one has its Grant.
func OfToken(event Event, t auth.Token) Entry {
	e := Entry{Event: event, Token: t.Name, TokenID: t.ID, Kind: string(t.Kind)}
	if event == TokenCreated {
		e.Grant = &Grant{Address: t.Address, Routes: some(t.Routes), PushRoutes: some(t.PushRoutes),
			DNS: some(t.DNS), Domains: some(t.Domains), Expires: t.Expires.UTC().Round(0),
			CertCN: t.CertCN, MaxSessions: t.MaxSessions}
	}
	return e
}

// OfChange returns an entry about a change of a token.
func OfChange(t auth.Token, c auth.Change) Entry {
	e := OfToken(TokenChanged, t)
	e.Grant = &Grant{Routes: c.Routes, PushRoutes: c.PushRoutes, DNS: c.DNS, Domains: c.Domains}
	return e
}

// some returns a pointer to a list that is not empty, else nil.
func some[T any](all []T) *[]T {
	if len(all) == 0 {
		return nil
	}
	return &all
}

const (
	maxText   = 256      // bytes of each text in an Entry
	maxCounts = 64       // reasons in Omitted
	maxJSON   = 48 << 10 // bytes of an Entry
)

// ErrEntry means that an Entry is not in its form.
var ErrEntry = errors.New("not an entry of the audit log")

// Tidy brings e to the form that Check demands, and returns the bytes of its JSON.
func (e *Entry) Tidy() (size int) {
	e.own()
	for _, text := range e.texts() {
		*text = plain(*text)
	}
	for _, a := range e.addresses() {
		*a = a.WithZone("")
	}
	e.Time = e.Time.UTC().Round(0)
	data, err := json.Marshal(e)
	if err != nil || len(data) > maxJSON {
		e.Grant = nil // its lists alone have no such bound
		data, _ = json.Marshal(e)
	}
	return len(data)
}

// Check returns an error unless e has the form that Tidy gives it. It is for a process that
// does not trust the one with the Recorder.
func (e *Entry) Check() error {
	if !slices.Contains(Events(), e.Event) || e.Time.IsZero() || len(e.Omitted) > maxCounts ||
		e.Sessions < 0 || e.End != nil && !(e.End.Seconds >= 0) {
		return fmt.Errorf("%w: %.20q", ErrEntry, e.Event)
	}
	for _, text := range e.texts() {
		if *text != plain(*text) {
			return fmt.Errorf("%w: a text", ErrEntry)
		}
	}
	for _, a := range e.addresses() {
		if a.Zone() != "" { // which can have any text
			return fmt.Errorf("%w: an address", ErrEntry)
		}
	}
	for reason := range e.Omitted {
		if reason != plain(reason) {
			return fmt.Errorf("%w: a reason", ErrEntry)
		}
	}
	if data, err := json.Marshal(e); err != nil || len(data) > maxJSON {
		return fmt.Errorf("%w: too long", ErrEntry)
	}
	return nil
}

// own gives e a Grant and lists of its own: those that it was made with may be a token's.
func (e *Entry) own() {
	if e.Grant == nil {
		return
	}
	g := *e.Grant
	if g.Domains != nil {
		all := slices.Clone(*g.Domains)
		g.Domains = &all
	}
	if g.DNS != nil {
		all := slices.Clone(*g.DNS)
		g.DNS = &all
	}
	e.Grant = &g
}

// texts returns the texts in e that others may have chosen.
func (e *Entry) texts() []*string {
	all := []*string{&e.Dev, &e.User, &e.LoginUser, &e.Token, &e.TokenID, &e.Kind, &e.Remote, &e.TLS,
		&e.Subject, &e.Reason, &e.Detail}
	if e.Grant != nil {
		all = append(all, &e.Grant.CertCN)
		if e.Grant.Domains != nil {
			for i := range *e.Grant.Domains {
				all = append(all, &(*e.Grant.Domains)[i])
			}
		}
	}
	return all
}

// addresses returns the addresses in e that could have a zone.
func (e *Entry) addresses() []*netip.Addr {
	all := []*netip.Addr{&e.Address}
	if e.Grant != nil {
		all = append(all, &e.Grant.Address)
		if e.Grant.DNS != nil {
			for i := range *e.Grant.DNS {
				all = append(all, &(*e.Grant.DNS)[i])
			}
		}
	}
	return all
}

// plain returns text without control characters, those that change the direction of text, and
// invalid UTF-8, cut to maxText. JSON escapes all that could end a text of its own, but what reads
// a line may show it to a terminal.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "")
}
