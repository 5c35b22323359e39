package route

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
)

// ErrFact says that an address or a route is none that this program may add or remove.
var ErrFact = errors.New("not a fact of a tunnel")

// ErrPublic says that a network has public addresses, in a process whose user may not take them over.
var ErrPublic = errors.New("not a private network")

// minBits is the length of the largest network that a tunnel may have, as RFC 1918's largest.
const minBits = 8

// rules say what may stand in a journal. The same rules hold for what a Router adds, so that what it notes can be undone.
type rules struct {
	dev    string // the tunnel's own device; "" is not known, for a dry run
	secure bool   // this process has rights that its user lacks, and must not lend them
}

// rulesFor returns the rules for the device dev. Under AT_SECURE the program's file gives its caller CAP_NET_ADMIN, and the
// caller must not get other users' packets by it: only private networks pass.
func rulesFor(dev string) rules { return rules{dev: dev, secure: cmdrun.SecureMode()} }

// heals reports whether healing may undo e, an entry that passes check. Under AT_SECURE the journal is a file of a user
// who could not remove anything without this program, so it names a device, an address or a route of anybody's TUN. Only
// bypasses outlive a killed run anyway: the others go with its device.
func (r rules) heals(e entry) bool { return !r.secure || e.Kind == kindBypass }

// check returns nil if e is something that this program may have added, an ErrFact that says why not otherwise.
func (r rules) check(e entry) error {
	if err := checkDev(e.Dev); err != nil {
		return err
	}
	if own := r.dev == "" || e.Dev == r.dev; e.Index < 0 || own != (e.Kind != kindBypass) && r.dev != "" {
		return fmt.Errorf("%w: %s is about another device than the tunnel's %s", ErrFact, e, r.dev)
	}
	if e.Kind != kindBypass && e.Path != (ipcmd.Path{}) {
		return fmt.Errorf("%w: %s says something of the path", ErrFact, e)
	}
	switch e.Kind {
	case kindDevice:
		return nil
	case kindAddr:
		if !e.Local.Is4() || !e.Peer.Is4() || e.Peer == e.Local {
			return fmt.Errorf("%w: %s and %s are no pair of addresses", ErrFact, e.Local, e.Peer)
		}
		return errors.Join(r.network(netip.PrefixFrom(e.Local, 32)), r.network(netip.PrefixFrom(e.Peer, 32)))
	case kindRoute:
		if e.Prefix != e.Prefix.Masked() || !e.Prefix.Contains(e.Via) {
			return fmt.Errorf("%w: %s is not a network of %s", ErrFact, e.Prefix, e.Via)
		}
		return r.network(e.Prefix)
	case kindBypass:
		if a := e.Prefix.Addr(); !a.Is4() || !e.Prefix.IsSingleIP() || !e.Via.IsValid() || !isUnicast(a) {
			return fmt.Errorf("%w: %s via %s is not a host behind a gateway", ErrFact, e.Prefix, e.Via)
		}
		return checkPath(e.Path)
	default:
		return fmt.Errorf("%w: kind %q", ErrFact, e.Kind)
	}
}

// checkPath refuses what no route of a kernel says of a path.
func checkPath(p ipcmd.Path) error {
	if p.Src.IsValid() && (!p.Src.Is4() || !isUnicast(p.Src)) {
		return fmt.Errorf("%w: the source address %s", ErrFact, p.Src)
	}
	if len(p.Congestion) >= tcpNameMax || strings.ContainsFunc(p.Congestion, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-'
	}) {
		return fmt.Errorf("%w: the congestion control %q", ErrFact, p.Congestion)
	}
	return nil
}

// tcpNameMax is TCP_CA_NAME_MAX of include/net/tcp.h.
const tcpNameMax = 16

// network refuses what no tunnel's network may be.
func (r rules) network(n netip.Prefix) error {
	if !n.IsValid() || !n.Addr().Is4() || n.Bits() < minBits || !isUnicast(n.Addr()) {
		return fmt.Errorf("%w: %s is not an IPv4 network of /%d or smaller", ErrFact, n, minBits)
	}
	if r.secure && !IsPrivate(n) {
		return fmt.Errorf("%w: %s: a program with file capabilities joins and makes private networks only", ErrPublic, n)
	}
	return nil
}

// isUnicast reports whether a host on some network may have the address.
func isUnicast(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// IsPrivate reports whether all addresses of an IPv4 network are private: RFC 1918, or RFC 6598's shared space.
func IsPrivate(n netip.Prefix) bool {
	for _, p := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"} {
		if p := netip.MustParsePrefix(p); n.IsValid() && p.Bits() <= n.Bits() && p.Contains(n.Addr()) {
			return true
		}
	}
	return false
}

// trusted reports whether a file of the user uid may tell this process what to undo. Under AT_SECURE even root's may not:
// the user who runs the program did not write it.
func trusted(uid uint32) bool {
	if cmdrun.SecureMode() {
		return int(uid) == os.Getuid()
	}
	return uid == 0 || int(uid) == os.Geteuid()
}
