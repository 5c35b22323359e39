package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tunnel/dns"
)

// applyNames makes the machine resolve names as w says, after its routes, so that names are given
// back before these go. What another program has written to /etc/resolv.conf meanwhile is what
// comes back at the end. In a full tunnel without names see dns.Config.OrOwn. A failure does not
// touch addresses and routes. The caller holds mu.
func (h *Host) applyNames(ctx context.Context, w Want) error {
	have, unknown := h.names(), error(nil)
	owner := dns.Owner{Dev: w.Dev, Index: h.indexOf(w.Dev), Journal: h.journal.Name()}
	if w.Full.On {
		w.Names, unknown = w.Names.OrOwn(h.machine, owner) //nolint:contextcheck // it has its own time
	}
	if w.Names.IsZero() {
		if have == nil || unknown != nil {
			return unknown
		}
		return h.remove(ctx, have)
	}
	want, err := dns.Choose(w.Names, owner)
	if err != nil {
		return err
	}
	lost := false
	if have != nil && have == want {
		intact, err := h.namesIntact(want)
		if err != nil {
			return fmt.Errorf("%w: %w", dns.ErrNotSet, err)
		}
		if intact {
			return nil
		}
		if err := h.contestNames(want); err != nil {
			return err
		}
		lost = true
	}
	if have != nil {
		if err := h.remove(ctx, have); err != nil {
			return fmt.Errorf("%w: %w", dns.ErrNotSet, err)
		}
	}
	if err := h.make(ctx, want); err != nil {
		return fmt.Errorf("%w: %w", dns.ErrNotSet, err)
	}
	if lost {
		h.log.WarnContext(ctx, "something else on this machine has changed what was set, which is "+
			"set again", "what", want.String())
	} else {
		h.log.InfoContext(ctx, "set", "what", want.String(), "domains", w.Names.Domains,
			"all_names", w.Names.All)
	}
	return nil
}

// names returns the fact about names that was made, nil if there is none. The caller holds mu.
func (h *Host) names() dns.Fact {
	for _, f := range h.made {
		if names, is := f.(dns.Fact); is && isNames(f) {
			return names
		}
	}
	return nil
}

// isNames reports whether f is about names, so that applyNames makes and removes it.
func isNames(f fact) bool {
	return slices.ContainsFunc(dns.Kinds(), func(k dns.Fact) bool { return k.Kind() == f.Kind() })
}

func (h *Host) namesIntact(f dns.Fact) (bool, error) {
	if h.dry || h.machine.Look == nil {
		return true, nil
	}
	return f.Intact(h.machine)
}

// contestNames returns an error if names were restored maxRestored times within contestTime. They
// are then left to the other program until that time is over. The caller holds mu.
func (h *Host) contestNames(want dns.Fact) error {
	h.renamed = slices.DeleteFunc(h.renamed,
		func(t time.Time) bool { return time.Since(t) > contestTime })
	if len(h.renamed) >= maxRestored {
		return fmt.Errorf("%w: another program changes it again and again: %s", dns.ErrNotSet, want)
	}
	h.renamed = append(h.renamed, time.Now())
	return nil
}

// withoutOwn returns this machine's DNS servers without those that applyNames has set: these may be
// in the tunnel's network. The caller holds mu.
func (h *Host) withoutOwn(resolvers []netip.Addr) []netip.Addr {
	if h.names() == nil {
		return resolvers
	}
	return slices.DeleteFunc(resolvers,
		func(a netip.Addr) bool { return slices.Contains(h.held.Names.Servers, a) })
}
