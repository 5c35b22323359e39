package route

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// reach tells which tables the rules lead packets to. A table that none leads to decides about
// nothing. The rules are read when the first other table than the kernel's own is asked about.
type reach struct {
	look  rtnl.Lookup
	rules []rtnl.Rule
	read  bool
	known bool // rules are all that there are; else every table counts
	asked map[lookedUp]bool
}

// lookedUp is a question to reach: each is answered once, for a table may have a million routes.
type lookedUp struct {
	table   int
	network netip.Prefix
}

// table reports whether a packet to network may be looked up in a table; a network that is not
// valid is any. On doubt it may: only rules for other addresses, and those from addresses that
// neither this machine nor anybody whose packets it forwards can have, are left out.
func (r *reach) table(table int, network netip.Prefix) bool {
	if table == unix.RT_TABLE_MAIN || table == unix.RT_TABLE_LOCAL {
		return true
	}
	question := lookedUp{table, network}
	leads, known := r.asked[question]
	if !known {
		leads = r.ask(table, network)
		if r.asked == nil {
			r.asked = map[lookedUp]bool{}
		}
		r.asked[question] = leads
	}
	return leads
}

// ask is table without its memory, for a table that is not the kernel's own.
func (r *reach) ask(table int, network netip.Prefix) bool {
	if !r.read {
		rules, err := r.look.Rules()
		r.rules, r.read, r.known = rules, true, err == nil
	}
	return !r.known || slices.ContainsFunc(r.rules, func(rule rtnl.Rule) bool {
		if !rule.AnyTable && rule.Table != table {
			return false
		}
		if rule.Inverted {
			return true
		}
		if rule.To.IsValid() && network.IsValid() && !rule.To.Overlaps(network) {
			return false
		}
		return !rule.From.IsValid() || rule.From.Overlaps(network) || r.mayBeSource(rule.From)
	})
}

// mayBeSource reports whether packets from a prefix may pass: an address of this machine is in it,
// or it forwards packets.
func (r *reach) mayBeSource(prefix netip.Prefix) bool {
	addrs, err := r.look.Addrs(0)
	return err != nil || slices.ContainsFunc(addrs,
		func(a rtnl.Addr) bool { return prefix.Contains(a.Local) }) || forwards()
}

// forwards reports whether this machine forwards IPv4 packets of any interface, or may do so.
func forwards() bool {
	settings, err := filepath.Glob("/proc/sys/net/ipv4/conf/*/forwarding")
	return err != nil || len(settings) == 0 ||
		slices.ContainsFunc(settings, func(path string) bool {
			value, err := os.ReadFile(path)
			return err != nil || string(bytes.TrimSpace(value)) != "0"
		})
}
