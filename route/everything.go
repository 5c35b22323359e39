package route

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/journal"
	"tunnel/rtnl"
)

// The facts of a full tunnel are those of wg-quick(8): the default route of a table of their own,
// and rules that lead to it all but what the tunnel itself sends, which has a mark.

// Mark is the mark (SO_MARK) of what the tunnel itself sends, and the number of the table: "tn".
const Mark = 0x746e

// The priorities of the rules: behind those of VRFs (1000), before all that administrators and
// other programs usually have.
const (
	mainPriority = 1100
	ownPriority  = 1101
)

// MainRule leads packets to the routes of the main table that are no default routes.
func MainRule() Rule {
	return Rule{ipcmd.Rule{Priority: mainPriority, Table: unix.RT_TABLE_MAIN, Specific: true}}
}

// OwnRule leads what is not the tunnel's own to the table of Default.
func OwnRule() Rule {
	return Rule{ipcmd.Rule{Priority: ownPriority, Table: Mark, Without: Mark}}
}

// Rule is the fact that a rule leads to a table. It is one of MainRule and OwnRule.
type Rule struct{ ipcmd.Rule }

// Kind implements journal.Fact.
func (r Rule) Kind() string { return "rule" }

func (r Rule) String() string { return "IPv4 rule " + strings.Join(r.Words(), " ") }

// Check implements journal.Fact.
func (r Rule) Check(rules journal.Rules) error {
	if r != MainRule() && r != OwnRule() {
		return fmt.Errorf("%w: %s is none of a full tunnel", journal.ErrFact, r)
	}
	return checkSecure(rules, r)
}

// checkSecure refuses a fact of a full tunnel where the user may not redirect what others send.
func checkSecure(rules journal.Rules, fact fmt.Stringer) error {
	if rules.Secure {
		return fmt.Errorf("%w: %s: a program with file capabilities does not take over all traffic",
			ErrPublic, fact)
	}
	return nil
}

// Find implements journal.Fact.
func (r Rule) Find(m journal.Machine) (bool, error) {
	all, err := m.Look.Rules()
	return slices.ContainsFunc(all, r.is), err
}

// is reports whether a rule of the kernel is the one that r describes, exactly as this program adds
// it.
func (r Rule) is(have rtnl.Rule) bool {
	want := rtnl.Rule{Priority: r.Priority, Table: r.Table, Suppress: -1, Mark: r.Without}
	if r.Without != 0 {
		want.Mask, want.Inverted = ^uint32(0), true
	}
	if r.Specific {
		want.Suppress = 0
	}
	return have == want
}

// Make adds the rule.
func (r Rule) Make(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.RuleAdd(r.Rule))
	return taken(err)
}

// taken explains why the kernel refuses a fact of a full tunnel that exists already.
func taken(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("another full tunnel has all traffic of this machine, or was killed: "+
			"`tunnel cleanup`: %w", err)
	}
	return err
}

// Remove implements journal.Fact.
func (r Rule) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.RuleDel(r.Rule))
	return err
}

// Default is the fact that all packets of IPv4, or one half of them, take the tunnel's device: in
// the table Mark the default route, or in the main one, where the kernel knows no rules, a half.
type Default struct {
	Own

	Prefix netip.Prefix `json:"prefix"`
	Table  int          `json:"table"`
}

// Kind implements journal.Fact.
func (d Default) Kind() string { return "default" }

func (d Default) String() string {
	return fmt.Sprintf("route %s dev %s table %d", d.Prefix, d.Dev, d.Table)
}

// Check implements journal.Fact.
func (d Default) Check(r journal.Rules) error {
	if err := d.check(r, d); err != nil {
		return err
	}
	all := netip.IPv4Unspecified()
	whole := d.Table == Mark && d.Prefix == netip.PrefixFrom(all, 0)
	half := d.Table == unix.RT_TABLE_MAIN && slices.Contains(Halves(all), d.Prefix)
	if !whole && !half {
		return fmt.Errorf("%w: %s is none of a full tunnel", journal.ErrFact, d)
	}
	return checkSecure(r, d)
}

// Halves returns the two prefixes that all addresses of the family of unspecified are in. Their
// routes go before the default route.
func Halves(unspecified netip.Addr) []netip.Prefix {
	upper := unspecified.AsSlice()
	upper[0] = 0x80
	second, _ := netip.AddrFromSlice(upper)
	return []netip.Prefix{netip.PrefixFrom(unspecified, 1), netip.PrefixFrom(second, 1)}
}

// Find implements journal.Fact.
func (d Default) Find(m journal.Machine) (found bool, err error) {
	link, err := d.find(m)
	if err != nil || link.Index == 0 {
		return false, err
	}
	err = m.Look.Routes(d.Table, link.Index, func(r rtnl.Route) bool {
		found = r.Dst == d.Prefix && r.Type == unix.RTN_UNICAST && r.Table == d.Table &&
			r.Protocol == unix.RTPROT_BOOT && r.Metric == 0 && len(r.Hops) == 1 &&
			!r.Hops[0].Via.IsValid()
		return !found
	})
	return found, err
}

// Make adds the route.
func (d Default) Make(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.DefaultAdd(d.Prefix, d.Dev, d.Table))
	return taken(err)
}

// Remove implements journal.Fact.
func (d Default) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.DefaultDel(d.Prefix, d.Dev, d.Table))
	return err
}

// Unreachable is the fact that the main table refuses one half of all IPv6 addresses, which the
// tunnel does not carry. It is for a kernel that knows no rules: answers are refused, too.
type Unreachable struct {
	Prefix netip.Prefix `json:"prefix"`
}

// Kind implements journal.Fact.
func (u Unreachable) Kind() string { return "unreachable" }

func (u Unreachable) String() string {
	return "route unreachable " + u.Prefix.String()
}

// Check implements journal.Fact.
func (u Unreachable) Check(r journal.Rules) error {
	if !slices.Contains(Halves(netip.IPv6Unspecified()), u.Prefix) {
		return fmt.Errorf("%w: %s is none of a full tunnel", journal.ErrFact, u)
	}
	return checkSecure(r, u)
}

// Find implements journal.Fact.
func (u Unreachable) Find(m journal.Machine) (found bool, err error) {
	err = m.Look.Routes6(unix.RT_TABLE_MAIN, func(r rtnl.Route) bool {
		found = r.Dst == u.Prefix && r.Type == unix.RTN_UNREACHABLE &&
			r.Table == unix.RT_TABLE_MAIN && r.Protocol == unix.RTPROT_BOOT
		return !found
	})
	return found, err
}

// Make adds the route.
func (u Unreachable) Make(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.UnreachableAdd(u.Prefix))
	return taken(err)
}

// Remove implements journal.Fact.
func (u Unreachable) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.UnreachableDel(u.Prefix))
	return err
}
