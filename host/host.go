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
	"tunnel/journal"
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

	machine journal.Machine
	dry     bool             // machine.Run changes nothing, so machine.Look shows no changes
	journal *journal.Journal // owned
	log     *slog.Logger

	mu sync.Mutex
	// guarded by mu, as all below; the settings of the last successful LinkUp, or zero
	link link
	made []fact // what was made, or may have been, oldest first
	// by server: the kernel's decision if no bypass was made for it
	beside map[netip.Addr]rtnl.Route
	// the Want of the last successful Apply; zero after Withdraw
	held Want
	// the times of recent restorations, successful or not
	restored []time.Time
	closed   bool
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
		beside: map[netip.Addr]rtnl.Route{}}
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
	for _, f := range slices.Backward(slices.Clone(h.made)) {
		if !fits(f) {
			continue
		}
		if err := h.remove(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// forget removes f, which the machine does not have, from the journal. The caller holds mu.
func (h *Host) forget(f fact) error {
	h.made = slices.DeleteFunc(h.made, func(other fact) bool { return other == f })
	return h.journal.Drop(f)
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
	v := route.View{Look: h.machine.Look, Dev: h.device(), Own: h.link.index}
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
	}
	if err := view.Overlap(resolvers, masked...); err != nil {
		return err
	}
	if unknown != nil {
		return fmt.Errorf("look for DNS servers in %v: %w", masked, unknown)
	}
	return nil
}

// errNoLookup means that a Host has no Lookup, as in a dry run.
var errNoLookup = errors.New("no look-up in a dry run")

// NextHop returns the interface and gateway of packets to server, see route.View.NextHop.
func (h *Host) NextHop(_ context.Context, server netip.Addr) (route.NextHop, error) {
	server = server.Unmap()
	h.mu.Lock()
	defer h.mu.Unlock()
	err := errNoLookup
	switch {
	case h.closed:
		err = os.ErrClosed
	case h.machine.Look != nil:
		var hop route.NextHop
		if hop, err = h.view().NextHop(server); err == nil {
			return hop, nil
		}
	}
	return route.NextHop{}, fmt.Errorf("find the path to %s: %w", server, err)
}

// Close undoes what this Host made and nobody has changed since, newest first, within closeTimeout,
// and closes the journal, which deletes it. What could not be undone stays noted for Cleanup. Link
// settings are not undone: the kernel deletes the device with its owner. Close is idempotent.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var failures []error
	for _, f := range slices.Backward(slices.Clone(h.made)) {
		if err := h.remove(ctx, f); err != nil {
			failures = append(failures, err)
		}
	}
	failures = append(failures, h.journal.Close())
	return errors.Join(failures...)
}
