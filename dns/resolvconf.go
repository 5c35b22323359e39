package dns

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"tunnel/cmdrun"
	"tunnel/journal"
)

// Record is the fact that resolvconf(8), Debian's or openresolv, has a record of the tunnel's
// device. Names of all domains go to its servers.
type Record struct {
	Dev string `json:"dev"`
	lists
}

// Kind implements journal.Fact.
func (r Record) Kind() string { return "resolvconf" }

func (r Record) String() string {
	return fmt.Sprintf("DNS servers %s of %s in resolvconf", r.Servers, r.Dev)
}

// Check implements journal.Fact.
func (r Record) Check(rules journal.Rules) error {
	if err := checkDevice(r.Dev, rules, r); err != nil {
		return err
	}
	return r.check(true)
}

// name is the record's. Debian's resolvconf sorts records by name, and those of tun* before those
// of physical interfaces (/etc/resolvconf/interface-order), so that a device of another name has
// that prefix, too.
func (r Record) name() string { return "tun." + r.Dev }

func resolvconf(args ...string) cmdrun.Command {
	return cmdrun.Command{Program: "resolvconf", Args: args}
}

// Find implements journal.Fact.
func (r Record) Find(m journal.Machine) (bool, error) {
	out, err := look(m, resolvconf("-l", r.name()))
	if err != nil {
		return false, err
	}
	var found []string
	ours := false
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if name, head := strings.CutPrefix(line, "# resolv.conf from "); head {
			ours = name == r.name() // Debian's lists all records
		} else if ours && line != "" && line[0] != '#' {
			found = append(found, line)
		}
	}
	return slices.Equal(found, strings.Split(strings.TrimSpace(r.lines()), "\n")), nil
}

// Intact implements Fact.
func (r Record) Intact(m journal.Machine) (bool, error) { return r.Find(m) }

// Make adds the record: for openresolv before all others by its metric, and instead of them.
// Debian's resolvconf ignores that, and appends other servers as long as there are fewer than
// three.
func (r Record) Make(ctx context.Context, m journal.Machine) error {
	c := resolvconf("-a", r.name(), "-m", "0", "-x")
	c.Input = r.lines()
	_, err := m.Run.Run(ctx, c)
	if err != nil { // it may have the record, although what comes of it failed
		_ = r.Remove(context.WithoutCancel(ctx), m) // the first failure says why
	}
	return err
}

// Remove implements journal.Fact.
func (r Record) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, resolvconf("-d", r.name()))
	return err
}
