// Package dns makes a client's machine resolve names by the DNS servers that its server pushes, and
// undoes it: through systemd-resolved, resolvconf or /etc/resolv.conf, whichever the machine uses.
package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"tunnel/journal"
)

// Config is what a client accepts of the DNS that its server pushes. The zero Config is none.
type Config struct {
	// Servers are asked in this order; at most MaxServers.
	Servers []netip.Addr `json:"servers,omitempty"`
	// Domains are those whose names the servers know, in lower case, as A-labels, without a
	// trailing dot; at most MaxDomains.
	Domains []string `json:"domains,omitempty"`
	// All has the servers resolve the names of all domains, and Domains be searched for names
	// without a dot. The client's user must have accepted that. Without it only the names of
	// Domains go to the servers, which takes systemd-resolved.
	All bool `json:"all,omitempty"`
}

// Limits of a Config.
const (
	MaxServers = 8
	MaxDomains = 128
)

// Errors about a Config.
var (
	// ErrNotSet means that the machine could not be given the servers.
	ErrNotSet = errors.New("the tunnel's DNS servers cannot be set")
	// ErrConfig means that a Config has what no machine may be given.
	ErrConfig = errors.New("not DNS settings of a tunnel")
	// ErrNotAll means that the servers could be used for the names of all domains only, which the
	// Config does not have.
	ErrNotAll = errors.New("the DNS of all names was not accepted")
)

// Equal reports whether two Configs are equal.
func (c Config) Equal(other Config) bool {
	return c.All == other.All && slices.Equal(c.Servers, other.Servers) &&
		slices.Equal(c.Domains, other.Domains)
}

// IsZero reports whether c is none.
func (c Config) IsZero() bool { return c.Equal(Config{}) }

// Check returns an ErrConfig unless a machine may be given c, or an ErrNotAll if c has no domains,
// or one that is a whole public suffix such as "com", and All is not set.
func (c Config) Check() error {
	switch {
	case c.IsZero():
		return nil
	case len(c.Servers) == 0 || len(c.Servers) > MaxServers:
		return fmt.Errorf("%w: %d servers are not 1 to %d", ErrConfig, len(c.Servers), MaxServers)
	case len(c.Domains) > MaxDomains:
		return fmt.Errorf("%w: %d domains are more than %d", ErrConfig, len(c.Domains), MaxDomains)
	case len(c.Domains) == 0 && !c.All:
		return fmt.Errorf("%w: the server names no domains", ErrNotAll)
	}
	for i, s := range c.Servers {
		if !isServer(s) || slices.Contains(c.Servers[:i], s) {
			return fmt.Errorf("%w: server %s", ErrConfig, s)
		}
	}
	for i, d := range c.Domains {
		if !isDomain(d) || slices.Contains(c.Domains[:i], d) {
			return fmt.Errorf("%w: domain %.260q", ErrConfig, d)
		}
		if suffix, known := publicsuffix.PublicSuffix(d); known && suffix == d && !c.All {
			return fmt.Errorf("%w: the domain %s is everybody's", ErrNotAll, d)
		}
	}
	return nil
}

// isServer reports whether a DNS server behind the tunnel may have the address. This machine's own
// could be those of another user's program.
func isServer(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() &&
		!a.IsMulticast() && !a.IsLinkLocalUnicast() && (!a.Is4() || a.As4()[0] != 0 &&
		a.As4()[0] < 240)
}

// isDomain reports whether d is a domain in the form of Config.Domains: RFC 1035 section 2.3.1,
// with the underscores that private zones have.
func isDomain(d string) bool {
	if d == "" || len(d) > 253 {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(c rune) bool {
				return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
			}) {
			return false
		}
	}
	return true
}

// lists are a Config in a fact, which has no slices: words that are joined by single spaces.
type lists struct {
	Servers string `json:"servers"`
	Domains string `json:"domains,omitempty"`
}

func (c Config) lists() lists {
	servers := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		servers[i] = s.String()
	}
	return lists{Servers: strings.Join(servers, " "), Domains: strings.Join(c.Domains, " ")}
}

// config returns the Config that l was made of, or an ErrConfig if it was made of none.
func (l lists) config(all bool) (Config, error) {
	c := Config{All: all}
	for word := range strings.FieldsSeq(l.Servers) {
		s, err := netip.ParseAddr(word)
		if err != nil {
			return Config{}, fmt.Errorf("%w: server %.50q", ErrConfig, word)
		}
		c.Servers = append(c.Servers, s)
	}
	c.Domains = strings.Fields(l.Domains)
	if c.lists() != l {
		return Config{}, fmt.Errorf("%w: %.50q", ErrConfig, l.Servers)
	}
	return c, c.Check()
}

// check returns a journal.ErrFact unless a fact may have l.
func (l lists) check(all bool) error {
	if _, err := l.config(all); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrFact, err)
	}
	return nil
}

// lines returns l in the form of resolv.conf(5).
func (l lists) lines() string {
	var text strings.Builder
	for s := range strings.FieldsSeq(l.Servers) {
		text.WriteString("nameserver " + s + "\n")
	}
	if l.Domains != "" {
		text.WriteString("search " + l.Domains + "\n")
	}
	return text.String()
}
