package dns

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"tunnel/cmdrun"
	"tunnel/journal"
)

// Link is the fact that systemd-resolved has the DNS servers of the tunnel's device. It sends them
// only the names of the domains, unless All is set. It forgets them with the device.
type Link struct {
	Dev   string `json:"dev"`
	Index int    `json:"index,omitzero"` // of Dev, 0 if it was not known
	lists
	All bool `json:"all,omitempty"`
}

// Kind implements journal.Fact.
func (l Link) Kind() string { return "resolved" }

func (l Link) String() string {
	return fmt.Sprintf("DNS servers %s of %s in systemd-resolved", l.Servers, l.Dev)
}

// Check implements journal.Fact.
func (l Link) Check(r journal.Rules) error {
	if err := checkDevice(l.Dev, r, l); err != nil {
		return err
	}
	if l.Index < 0 {
		return fmt.Errorf("%w: %s: index %d", journal.ErrFact, l, l.Index)
	}
	return l.check(l.All)
}

// domains returns the arguments of `resolvectl domain`. A domain behind a tilde is not searched for
// names without a dot; "~." is all names, before the servers of other links.
func (l Link) domains() []string {
	all := strings.Fields(l.Domains)
	if l.All {
		return append(all, "~.")
	}
	for i, d := range all {
		all[i] = "~" + d
	}
	return all
}

// defaultRoute returns whether names of no link's domain may go to the servers.
func (l Link) defaultRoute() string {
	if l.All {
		return "yes"
	}
	return "no"
}

func resolvectl(verb, dev string, args ...string) cmdrun.Command {
	return cmdrun.Command{Program: "resolvectl", Args: append([]string{verb, dev}, args...)}
}

// Find implements journal.Fact. The device is the tunnel's own, so that only another set of servers
// is another program's. Without servers, a run was perhaps killed in Make.
func (l Link) Find(m journal.Machine) (bool, error) {
	there, err := l.hasDevice(m)
	if !there || err != nil {
		return false, err
	}
	servers, err := ask(m, "dns", l.Dev)
	if err != nil || len(servers) > 0 {
		return slices.Equal(servers, strings.Fields(l.Servers)), err
	}
	return l.hasDomains(m)
}

func (l Link) hasDomains(m journal.Machine) (bool, error) {
	domains, err := ask(m, "domain", l.Dev)
	return slices.Equal(slices.Sorted(slices.Values(domains)),
		slices.Sorted(slices.Values(l.domains()))), err
}

func (l Link) hasDevice(m journal.Machine) (bool, error) {
	link, err := m.Look.LinkByName(l.Dev)
	return link.Index != 0 && (l.Index == 0 || link.Index == l.Index), err
}

// Intact reports whether resolved has all of l, exactly.
func (l Link) Intact(m journal.Machine) (bool, error) {
	there, err := l.hasDevice(m)
	if !there || err != nil {
		return false, err
	}
	servers, err := ask(m, "dns", l.Dev)
	if err != nil || !slices.Equal(servers, strings.Fields(l.Servers)) {
		return false, err
	}
	if there, err = l.hasDomains(m); !there || err != nil {
		return false, err
	}
	route, err := ask(m, "default-route", l.Dev)
	return err == nil && slices.Equal(route, []string{l.defaultRoute()}), err
}

// ask returns the words of what resolved says of a device: "Link 5 (tun0): 10.1.1.1 10.1.1.2",
// which newer versions wrap. It returns none if resolved does not run or does not know the device:
// what it had is then not used, and forgotten with the device.
func ask(m journal.Machine, verb, dev string) ([]string, error) {
	out, err := look(m, resolvectl(verb, dev))
	if err != nil || out == nil {
		return nil, err
	}
	_, words, found := strings.Cut(string(out), "("+dev+"):")
	if !found {
		return nil, fmt.Errorf("%s: no line of %s in %.100q", resolvectl(verb, dev), dev, out)
	}
	return strings.Fields(words), nil
}

// Make gives resolved the servers last: before, it would send them what is not for them. The
// domains, of which there is always one, come first, so that Find sees what is half made.
func (l Link) Make(ctx context.Context, m journal.Machine) error {
	for _, c := range []cmdrun.Command{
		resolvectl("domain", l.Dev, l.domains()...),
		resolvectl("default-route", l.Dev, l.defaultRoute()),
		resolvectl("dns", l.Dev, strings.Fields(l.Servers)...),
	} {
		if _, err := m.Run.Run(ctx, c); err != nil {
			_ = l.Remove(context.WithoutCancel(ctx), m) // the first failure says why
			return err
		}
	}
	return nil
}

// Remove implements journal.Fact.
func (l Link) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, resolvectl("revert", l.Dev))
	return err
}
