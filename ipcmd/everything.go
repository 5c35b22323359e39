package ipcmd

import (
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
)

// DefaultAdd routes prefix, all of IPv4 or a half of it, to dev in a table.
func DefaultAdd(prefix netip.Prefix, dev string, table int) cmdrun.Command {
	return command(append([]string{"route", "add", prefixWord(prefix), "dev", dev},
		tableWords(table)...)...)
}

// DefaultDel undoes DefaultAdd.
func DefaultDel(prefix netip.Prefix, dev string, table int) cmdrun.Command {
	return command(append([]string{"route", "del", prefixWord(prefix), "dev", dev},
		tableWords(table)...)...)
}

// UnreachableAdd has the kernel refuse packets to prefix, a half of all IPv6 addresses.
func UnreachableAdd(prefix netip.Prefix) cmdrun.Command {
	return command("-6", "route", "add", "unreachable", prefix.String())
}

// UnreachableDel undoes UnreachableAdd.
func UnreachableDel(prefix netip.Prefix) cmdrun.Command {
	return command("-6", "route", "del", "unreachable", prefix.String())
}

// prefixWord returns a prefix as ip(8) writes it.
func prefixWord(prefix netip.Prefix) string {
	if prefix.Bits() == 0 {
		return "default"
	}
	return prefix.String()
}

// tableWords returns the words that name a table, none for the main one.
func tableWords(table int) []string {
	if table == unix.RT_TABLE_MAIN {
		return nil
	}
	return []string{"table", strconv.Itoa(table)}
}

// Rule leads packets to a table of routes.
type Rule struct {
	Priority int    `json:"priority"`
	Table    int    `json:"table"`
	Without  uint32 `json:"without,omitempty"` // for packets without this mark; 0 is any packet
	// Specific leaves out the table's default routes.
	Specific bool `json:"specific,omitempty"`
}

// RuleAdd adds a rule.
func RuleAdd(r Rule) cmdrun.Command { return r.command("add") }

// RuleDel undoes RuleAdd.
func RuleDel(r Rule) cmdrun.Command { return r.command("del") }

func (r Rule) command(verb string) cmdrun.Command {
	return command(append([]string{"-4", "rule", verb}, r.Words()...)...)
}

// Words returns the rule as ip-rule(8) takes it.
func (r Rule) Words() (all []string) {
	if r.Without != 0 {
		all = append(all, "not", "fwmark", fmt.Sprintf("%#x", r.Without))
	}
	table := strconv.Itoa(r.Table)
	if r.Table == unix.RT_TABLE_MAIN {
		table = "main"
	}
	all = append(all, "table", table)
	if r.Specific {
		all = append(all, "suppress_prefixlength", "0")
	}
	return append(all, "pref", strconv.Itoa(r.Priority))
}
