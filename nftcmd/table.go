// Package nftcmd builds the nft(8) commands for tables of this program, and reads what nft prints
// of them. A rule is text in one canonical form, which nft takes and to which Parse brings what nft
// prints, so that two tables are compared as text.
package nftcmd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tunnel/cmdrun"
)

const (
	program = "nft"
	family  = "inet"
)

// Table is a table of the family inet: base chains and their rules, nothing else but a lease
// and what is counted.
type Table struct {
	Name   string
	Chains []Chain
	// Lease, in whole seconds, is the time for which rules with Leased hold after Replace or Renew;
	// 0 if there are none.
	Lease time.Duration
	// Counting is for rules with Counted and Rated, in a table without a lease. Replace forgets what
	// was counted.
	Counting bool
}

// Chain is a base chain.
type Chain struct {
	Name     string
	Type     string // "filter", "nat" or "route"
	Hook     string // "input", "forward"…
	Priority int
	Policy   string   // "accept" or "drop"
	Rules    []string // in canonical form
}

// Create creates an empty table. It fails if one of that name exists.
func Create(name string) cmdrun.Command { return command("create", "table", family, name) }

// Delete deletes a table with all that is in it.
func Delete(name string) cmdrun.Command { return command("delete", "table", family, name) }

// Find prints a table without the elements of its sets. It fails with fs.ErrNotExist if there is
// none.
func Find(name string) cmdrun.Command {
	c := command("-t", "-j", "list", "table", family, name)
	c.Routine = true
	return c
}

// List prints the table of t's name for Parse, to compare it with t. What is counted is left out:
// it is one element for each client. It fails with fs.ErrNotExist if there is no such table.
func (t Table) List() cmdrun.Command {
	if t.Counting {
		return Find(t.Name)
	}
	c := command("-j", "list", "table", family, t.Name)
	c.Routine = true
	return c
}

// ListChains prints the chains of all tables for ParseChains.
func ListChains() cmdrun.Command {
	c := command("-j", "list", "chains", family)
	c.Routine = true
	return c
}

// Replace makes a table what t says, in one transaction, whether or not it exists: each packet is
// judged by the old table or by the new one (nft(8), "-f").
func Replace(t Table) cmdrun.Command {
	c := command("-f", "-")
	c.Input = t.script()
	return c
}

func command(args ...string) cmdrun.Command { return cmdrun.Command{Program: program, Args: args} }

// script returns the input of Replace. The first line creates a table that is missing, which the
// second would not find.
func (t Table) script() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s\ndelete table %[1]s %[2]s\n", family, t.Name)
	b.WriteString(strings.Join(t.lines(), "\n") + "\n")
	return b.String()
}

// lines returns the table as nft takes it.
func (t Table) lines() []string {
	all := append([]string{"table " + family + " " + t.Name + " {"}, t.leaseLines()...)
	all = append(all, t.countLines()...)
	for _, c := range t.Chains {
		all = append(all, "\tchain "+c.Name+" {",
			"\t\ttype "+c.Type+" hook "+c.Hook+" priority "+strconv.Itoa(c.Priority)+
				"; policy "+c.Policy+";")
		for _, rule := range c.Rules {
			all = append(all, "\t\t"+rule)
		}
		all = append(all, "\t}")
	}
	return append(all, "}")
}

// Equal reports whether the two tables are the same.
func (t Table) Equal(other Table) bool { return slices.Equal(t.lines(), other.lines()) }

// Difference returns in one line where have, which nft has shown, differs first from t; "" if it
// does not.
func (t Table) Difference(have Table) string {
	wanted, found := t.lines(), have.lines()
	for i := range max(len(wanted), len(found)) {
		switch {
		case i >= len(found):
			return fmt.Sprintf("%q is missing", strings.TrimSpace(wanted[i]))
		case i >= len(wanted):
			return fmt.Sprintf("%q is too much", strings.TrimSpace(found[i]))
		case wanted[i] != found[i]:
			return fmt.Sprintf("%q stands for %q", strings.TrimSpace(found[i]),
				strings.TrimSpace(wanted[i]))
		}
	}
	return ""
}
