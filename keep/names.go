package keep

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"tunnel/dns"
	"tunnel/host"
)

// applyAll has the router apply w with names, of which only those servers are used that a route of
// w leads to. What fails of the names alone is reported, and is no error. The caller holds mu.
func (k *Keeper) applyAll(ctx context.Context, w host.Want, names dns.Config) error {
	k.excepts(ctx, w)
	w.Names = names.Within(w.Networks(), w.Full.On)
	wrong := w.Names.Check()
	if wrong != nil {
		w.Names = dns.Config{}
	}
	err := k.router.Apply(ctx, w)
	if errors.Is(err, dns.ErrNotSet) || errors.Is(err, dns.ErrNotAll) {
		wrong, err = err, nil
	}
	if err != nil {
		return err
	}
	k.resolving = w.Names.Servers
	text := ""
	if wrong != nil {
		k.resolving, text = nil, wrong.Error()
	}
	if k.NamesSet != nil && (!w.Names.Equal(k.told) || text != k.wrong) {
		k.NamesSet(w.Names, wrong)
	}
	k.told, k.wrong = w.Names, text
	return nil
}

// Without returns this machine's DNS servers without those that are the tunnel's.
func (k *Keeper) Without(servers []netip.Addr) []netip.Addr {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(servers),
		func(s netip.Addr) bool { return slices.Contains(k.resolving, s) })
}
