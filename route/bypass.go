package route

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/journal"
	"tunnel/rtnl"
)

// Bypass is the fact that packets to one host, the server, take a physical interface. It is what
// ipcmd.BypassAdd adds.
type Bypass struct {
	Dev    string       `json:"dev"`
	Prefix netip.Prefix `json:"prefix"` // of one address
	Via    netip.Addr   `json:"via"`
	Path   ipcmd.Path   `json:"path,omitzero"`
}

// Kind implements journal.Fact.
func (b Bypass) Kind() string { return "bypass" }

func (b Bypass) String() string {
	return fmt.Sprintf("route %s via %s dev %s", b.Prefix, b.Via,
		b.Dev)
}

// Check implements journal.Fact.
func (b Bypass) Check(r journal.Rules) error {
	if err := rtnl.CheckName(b.Dev); err != nil {
		return err
	}
	if b.Dev == r.Dev {
		return fmt.Errorf("%w: %s is about the tunnel's own device", journal.ErrFact, b)
	}
	if a := b.Prefix.Addr(); !a.Is4() || !b.Prefix.IsSingleIP() || !b.Via.IsValid() ||
		!isUnicast(a) {
		return fmt.Errorf("%w: %s via %s is not a host behind a gateway", journal.ErrFact, b.Prefix,
			b.Via)
	}
	return checkPath(b.Path)
}

// checkPath refuses what no route of a kernel says of a path.
func checkPath(p ipcmd.Path) error {
	if p.Src.IsValid() && (!p.Src.Is4() || !isUnicast(p.Src)) {
		return fmt.Errorf("%w: the source address %s", journal.ErrFact, p.Src)
	}
	if len(p.Congestion) >= tcpNameMax || strings.ContainsFunc(p.Congestion, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-'
	}) {
		return fmt.Errorf("%w: the congestion control %q", journal.ErrFact, p.Congestion)
	}
	return nil
}

// tcpNameMax is TCP_CA_NAME_MAX of include/net/tcp.h.
const tcpNameMax = 16

// Find implements journal.Fact.
func (b Bypass) Find(m journal.Machine) (bool, error) {
	link, err := m.Look.LinkByName(b.Dev)
	if err != nil || link.Index == 0 {
		return false, err
	}
	routes, err := routesTo(m.Look, b.Prefix, link.Index)
	return slices.ContainsFunc(routes, func(r rtnl.Route) bool { return b.Is(r, link.Index) }), err
}

// Is reports whether r is the route that b describes, exactly as this program adds it, on the
// interface of that index.
func (b Bypass) Is(r rtnl.Route, index int) bool {
	return index != 0 && isOurs(r, b.Prefix, b.Via, b.Path) && r.Hops[0].Index == index
}

// Make adds the route.
func (b Bypass) Make(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.BypassAdd(b.Prefix.Addr(), b.Via, b.Dev, b.Path))
	return err
}

// Remove implements journal.Fact.
func (b Bypass) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.BypassDel(b.Prefix.Addr(), b.Via, b.Dev, b.Path))
	return err
}

// Harmless implements journal.Harmless: it reports whether packets to the host would go the same
// way without the bypass, by the main table. No device is left out, because that of the journal's
// name may be another's.
func (b Bypass) Harmless(m journal.Machine) (bool, error) {
	link, err := m.Look.LinkByName(b.Dev)
	if err != nil || link.Index == 0 {
		return false, err
	}
	var best rtnl.Route
	err = m.Look.Routes(unix.RT_TABLE_MAIN, 0, func(r rtnl.Route) bool {
		if r.Dst.Contains(b.Prefix.Addr()) && r.Type != unix.RTN_THROW && !b.Is(r, link.Index) &&
			isBetter(r, best) {
			best = r
		}
		return true
	})
	return err == nil && best.Type == unix.RTN_UNICAST &&
		slices.ContainsFunc(best.Hops, func(h rtnl.Hop) bool {
			return !h.Dead && h.Via == b.Via && h.Index == link.Index
		}), err
}

// isBetter reports whether the kernel goes by r before it goes by other, the zero Route if there is
// none: by the longer prefix, then the smaller metric.
func isBetter(r, other rtnl.Route) bool {
	longer := r.Dst.Bits() - other.Dst.Bits()
	return other.Type == unix.RTN_UNSPEC || longer > 0 || longer == 0 && r.Metric < other.Metric
}
