// Package host makes and undoes all changes of this program to a machine, except its TUN device.
// The wanted state is one value, Want, which is compared with the state of the machine. Each change
// is noted as a fact in the journal before it is made, so that a later run can undo what a killed
// run left, and nothing is removed that this program did not add. The path to the server stays
// outside the tunnel.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"tunnel/cmdrun"
	"tunnel/firewall"
	"tunnel/host/lan"
	"tunnel/host/sockets"
	"tunnel/host/ways"
	"tunnel/journal"
	"tunnel/nftcmd"
	"tunnel/route"
	"tunnel/rtnl"
)

// fact is a journal.Fact that this program can make.
type fact interface {
	journal.Fact
	// Make adds it to the machine. It first removes what conflicts with it on the tunnel's device.
	Make(context.Context, journal.Machine) error
}

// Host owns the facts that it makes, until Close. Its methods may be called concurrently.
type Host struct {
	// Resolvers returns this machine's DNS servers, which no network of the tunnel may contain. If
	// nil, they are not checked. Set before use.
	Resolvers func() ([]netip.Addr, error)
	// Marked says that connections to the server have the mark route.Mark. Set before use.
	Marked bool
	// User is the user ID of the process that connects to the server, 0 for this one. Set before use.
	User uint32
	// Full says that a Want with Full is going to come. Set before use.
	Full bool

	machine journal.Machine
	dry     bool             // machine.Run changes nothing, so machine.Look shows no changes
	journal *journal.Journal // owned
	log     *slog.Logger

	mu sync.Mutex
	// guarded by mu, as all below; the settings of the last successful LinkUp, or zero
	link link
	made []fact // what was made, or may have been, oldest first
	// what the table of the device holds since the last successful Apply, or zero
	filled nftcmd.Table
	sealed bool // the table has a kill switch, or is that of a killed run and may have one
	leased bool // or it refuses what leaves outside a full tunnel, while it is renewed
	// by server: the kernel's decision if no bypass was made for it
	beside map[netip.Addr]rtnl.Route
	// the Want of the last successful Apply; zero after Withdraw
	held Want
	// the times of recent restorations, successful or not
	restored []time.Time
	renamed  []time.Time     // the same of names
	closed   bool            // no Apply any more
	over     bool            // and the journal is closed
	tabled   Want            // of the last setTable, for Confirm
	guards   firewall.Guards // the same
	until    time.Time       // see OnTrial
	sockets  sockets.Ports   // read before the first table that needs them, and once after it
	lan      lan.Limit       // of what stays outside
	ways     ways.Known      // to Want.Firewall.Reached
	// the Want that Withdraw has undone, of which a table may stay
	withdrawn Want
}

// Adopt takes over the facts that journal.Journal.Heal has left noted, as if this Host had made
// them: the next Apply keeps those that it wants, and Close undoes the others.
func (h *Host) Adopt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, noted := range h.journal.Facts() {
		if f, ok := noted.(fact); ok && !slices.Contains(h.made, f) {
			h.made = append(h.made, f)
			h.sealed = h.sealed || isTable(f)
		}
	}
}

// closeTimeout bounds Close. It is long enough for a busy machine, because only a later run removes
// what Close leaves.
const closeTimeout = 5 * time.Second

// New returns a Host of this machine, whose Look may be nil in a dry run. It takes over the
// journal, which must be healed and may be nil; a nil log is silent.
func New(m journal.Machine, j *journal.Journal, log *slog.Logger) *Host {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Host{machine: m, dry: cmdrun.IsDry(m.Run), journal: j, log: log,
		beside: map[netip.Addr]rtnl.Route{}, lan: lan.Limit{Log: log}}
}

// make notes f in the journal, then makes it. The caller holds mu.
func (h *Host) make(ctx context.Context, f fact) error {
	if err := f.Check(journal.RulesFor(h.device())); err != nil {
		return fmt.Errorf("add %s: %w", f, err)
	}
	if err := h.journal.Note(f); err != nil {
		return err
	}
	h.made = append(h.made, f)
	err := f.Make(ctx, h.machine)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("add %s: %w", f, err)
	if cmdrun.Uncertain(err) && h.mayBeThere(f) {
		return err // and Close removes it
	}
	return errors.Join(err, h.forget(f))
}

// mayBeThere reports whether f may have been made although its context ended during the command.
func (h *Host) mayBeThere(f fact) bool {
	if h.machine.Look == nil {
		return true
	}
	there, err := f.Find(h.machine)
	return there || err != nil
}

// remove undoes f if the machine has it. The caller holds mu.
func (h *Host) remove(ctx context.Context, f fact) error {
	if h.machine.Look != nil { // nil in a dry run, which made nothing
		if _, err := journal.Undo(ctx, h.machine, f); err != nil {
			return err
		}
	}
	return h.forget(f)
}

// removeAll removes the facts that were made and fit, newest first. The caller holds mu.
func (h *Host) removeAll(ctx context.Context, fits func(fact) bool) error {
	return h.undoAll(ctx, fits, func(error) bool { return false })
}

// undoAll is removeAll, which goes on after an error if that says so, and then returns nil.
func (h *Host) undoAll(ctx context.Context, fits func(fact) bool, goesOn func(error) bool) error {
	all := slices.DeleteFunc(slices.Clone(h.made), func(f fact) bool { return !fits(f) })
	slices.Reverse(all)
	for i, f := range all {
		if !slices.Contains(h.made, f) {
			continue
		}
		if i == 0 || f.Kind() != all[i-1].Kind() {
			if err := h.removeMany(ctx, all[i:]); err != nil && !goesOn(err) {
				return err
			}
		}
		if !slices.Contains(h.made, f) {
			continue
		}
		if err := h.remove(ctx, f); err != nil && !goesOn(err) {
			return err
		}
	}
	return nil
}

// forget removes facts, which the machine does not have, from the journal. The caller holds mu.
func (h *Host) forget(facts ...fact) error {
	h.made = slices.DeleteFunc(h.made, func(f fact) bool { return slices.Contains(facts, f) })
	if slices.ContainsFunc(facts, isTable) {
		h.filled, h.sealed, h.leased = nftcmd.Table{}, false, false
	}
	noted := make([]journal.Fact, len(facts))
	for i, f := range facts {
		noted[i] = f
	}
	return h.journal.Drop(noted...)
}

// device returns the name of the tunnel's own device, or "" if it is not known yet.
func (h *Host) device() string {
	if h.journal != nil {
		return h.journal.Dev()
	}
	return h.link.dev
}

// view returns the kernel's routing without the tunnel's device. The caller holds mu.
func (h *Host) view() route.View {
	v := route.View{Look: h.machine.Look, Dev: h.device(), Own: h.link.index, User: h.User}
	if h.Marked {
		v.Mark = route.Mark
	}
	if v.Own == 0 && v.Look != nil && v.Dev != "" {
		if own, err := v.Look.LinkByName(v.Dev); err == nil {
			v.Own = own.Index
		}
	}
	return v
}

// Overlap returns a *route.OverlapError if this machine uses one of the networks outside the
// tunnel, see route.View.Overlap.
func (h *Host) Overlap(_ context.Context, networks ...netip.Prefix) error {
	masked := slices.Clone(networks)
	for i, n := range networks {
		if !n.IsValid() || !n.Addr().Is4() {
			return fmt.Errorf("%s is not an IPv4 network", n)
		}
		masked[i] = n.Masked()
	}
	if h.machine.Look == nil {
		return nil
	}
	h.mu.Lock()
	view := h.view()
	h.mu.Unlock()
	var resolvers []netip.Addr
	var unknown error
	if h.Resolvers != nil {
		resolvers, unknown = h.Resolvers()
		h.mu.Lock()
		resolvers = h.withoutOwn(resolvers)
		h.mu.Unlock()
	}
	if err := view.Overlap(resolvers, masked...); err != nil {
		return err
	}
	if unknown != nil {
		return fmt.Errorf("look for DNS servers in %v: %w", masked, unknown)
	}
	return nil
}

// NextHop returns the interface and gateway of packets to server, see route.View.NextHop.
func (h *Host) NextHop(_ context.Context, server netip.AddrPort) (route.NextHop, error) {
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	h.mu.Lock()
	defer h.mu.Unlock()
	err := errors.New("no look-up in a dry run")
	switch {
	case h.closed:
		err = os.ErrClosed
	case h.machine.Look != nil:
		var hop route.NextHop
		if hop, err = h.view().NextHop(server); err == nil {
			return hop, nil
		}
	}
	return route.NextHop{}, fmt.Errorf("find the path to %s: %w", server.Addr(), err)
}

// Close undoes what this Host made and nobody has changed since, newest first, within closeTimeout,
// and closes the journal, which deletes it. What could not be undone stays noted for Cleanup. Link
// settings are not undone: the kernel deletes the device with its owner. Close is idempotent.
func (h *Host) Close() error { return h.close(func(fact) bool { return true }, true) }

// CloseSealed is Close for a run that does not end as it was told to: a kill switch stays, noted
// for the next run or Cleanup.
func (h *Host) CloseSealed() error { return h.close(h.unsealed, true) }

// Release is CloseSealed without the end: Close or CloseSealed decide about a kill switch later.
func (h *Host) Release() error { return h.close(h.unsealed, false) }

// unsealed reports whether f is no kill switch. The caller holds mu.
func (h *Host) unsealed(f fact) bool { return !h.sealed || !isTable(f) }

// Sealed reports whether a kill switch is in force.
func (h *Host) Sealed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sealed
}

// close is Close for the facts that fit; the others stay noted.
func (h *Host) close(fits func(fact) bool, over bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil
	}
	h.closed, h.over = true, over
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var failures []error
	_ = h.undoAll(ctx, fits, func(err error) bool {
		failures = append(failures, err)
		return true
	})
	if over {
		failures = append(failures, h.journal.Close())
	}
	return errors.Join(failures...)
}
