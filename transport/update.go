package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MessageUpdate is the state of an Update on the wire, and canUpdate how a client says that it
// takes one.
const (
	MessageUpdate = "update"
	canUpdate     = "update"
)

// The limits of an update and of what a client advertises.
const (
	MaxUpdate    = 256 << 10 // bytes of the message
	MaxRoutes    = 1024      // Update.Routes
	MaxDNS       = 8         // Update.DNS
	MaxDomains   = 128       // Update.Domains
	MaxAdvertise = 64        // Connect.Advertise
	maxDomain    = 253       // bytes of a name, RFC 1035 section 2.3.4 without the final dot
	maxLabel     = 63
)

// Update is what the machine of a client should have now, see docs/PROTOCOL.md. It is the whole
// truth: an empty list is none. The client decides what it takes.
type Update struct {
	Serial  uint64         `json:"serial"` // from 1 on, greater with each update of a session
	Routes  []netip.Prefix `json:"routes,omitempty"`
	DNS     []netip.Addr   `json:"dns,omitempty"`
	Domains []string       `json:"domains,omitempty"`
	Behind  []netip.Prefix `json:"behind,omitempty"` // what the client may advertise
}

// Equal reports whether two updates have the same lists.
func (u Update) Equal(other Update) bool {
	return slices.Equal(u.Routes, other.Routes) && slices.Equal(u.DNS, other.DNS) &&
		slices.Equal(u.Domains, other.Domains) && slices.Equal(u.Behind, other.Behind)
}

// Encode returns the message. The error is that of a list which breaks the limits.
func (u Update) Encode() ([]byte, error) {
	if err := u.check(); err != nil {
		return nil, fmt.Errorf("encode update: %w", err)
	}
	return json.Marshal(struct {
		State string `json:"state"`
		Update
	}{MessageUpdate, u})
}

// ParseUpdate reads what a server sends after connected. The error's text is fit for the close
// reason.
func ParseUpdate(data []byte) (Update, error) {
	var m struct {
		State string `json:"state"`
		Update
	}
	switch err := json.Unmarshal(data, &m); {
	case len(data) > MaxUpdate:
		return Update{}, errors.New("update too long")
	case err != nil:
		return Update{}, errors.New("malformed control message")
	case m.State != MessageUpdate:
		return Update{}, errors.New("unknown state: only update follows connected")
	}
	if err := m.check(); err != nil {
		return Update{}, fmt.Errorf("update: %w", err)
	}
	return m.Update, nil
}

// check returns why u is no update. Its text is short, because it becomes a close reason.
func (u Update) check() error {
	if u.Serial == 0 {
		return errors.New("no serial")
	}
	if err := checkPrefixes(u.Routes, MaxRoutes); err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	for i, p := range u.Routes {
		if i > 0 && u.Routes[i-1].Compare(p) >= 0 {
			return fmt.Errorf("routes: %s is not in order", p)
		}
	}
	if err := checkPrefixes(u.Behind, MaxAdvertise); err != nil {
		return fmt.Errorf("behind: %w", err)
	}
	if err := CheckDNS(u.DNS); err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	if err := CheckDomains(u.Domains); err != nil {
		return fmt.Errorf("domains: %w", err)
	}
	return nil
}

// CheckDNS returns an error if an update cannot have these DNS servers.
func CheckDNS(servers []netip.Addr) error {
	if len(servers) > MaxDNS {
		return fmt.Errorf("more than %d addresses", MaxDNS)
	}
	for _, a := range servers {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return errors.New("not the address of a host")
		}
	}
	return nil
}

// CheckDomains returns an error if an update cannot have these domains.
func CheckDomains(domains []string) error {
	if len(domains) > MaxDomains {
		return fmt.Errorf("more than %d", MaxDomains)
	}
	for _, name := range domains {
		if !isDomain(name) {
			return errors.New("not a name in lower case without a final dot")
		}
	}
	return nil
}

// checkPrefixes returns why these are not networks, at most most of them.
func checkPrefixes(all []netip.Prefix, most int) error {
	if len(all) > most {
		return fmt.Errorf("more than %d prefixes", most)
	}
	for _, p := range all {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			return errors.New("not a prefix without host bits")
		}
	}
	return nil
}

// isDomain reports whether name is a domain name in lower case, in A-labels (RFC 5890 section
// 2.3.2.1), without a final dot. Underscores are in the names of services (RFC 8552).
func isDomain(name string) bool {
	if len(name) > maxDomain {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool {
				return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
			}) {
			return false
		}
	}
	return true
}

// TakesUpdates reports whether the client takes an Update.
func (m Connect) TakesUpdates() bool { return slices.Contains(m.Can, canUpdate) }

// CanUpdate returns what a client that takes an Update says in Connect.Can.
func CanUpdate() []string { return []string{canUpdate} }

// checkAdvertise returns why m cannot advertise what it does.
func (m Connect) checkAdvertise() error {
	if err := checkPrefixes(m.Advertise, MaxAdvertise); err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	for i, p := range m.Advertise {
		if slices.Contains(m.Advertise[:i], p) {
			return fmt.Errorf("advertise: %s twice", p)
		}
	}
	return nil
}
