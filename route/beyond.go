package route

import (
	"context"
	"fmt"
	"net/netip"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
	"tunnel/journal"
)

// Beyond is the fact that packets to a network beyond the private one take the tunnel's device, as
// Network does for that. Its gateway lies in the private network, and mostly not in its own.
type Beyond struct{ Network }

// Kind implements journal.Fact.
func (b Beyond) Kind() string { return "beyond" }

// Check implements journal.Fact.
func (b Beyond) Check(r journal.Rules) error {
	if err := b.check(r, b); err != nil {
		return err
	}
	if b.Prefix != b.Prefix.Masked() || !b.Via.Is4() || !isUnicast(b.Via) {
		return fmt.Errorf("%w: %s is not a network by way of %s", journal.ErrFact, b.Prefix, b.Via)
	}
	return checkNetwork(r, b.Prefix)
}

// Alone implements journal.Many: what stands in the route's place has to go first.
func (b Beyond) Alone(m journal.Machine) (bool, error) {
	if !b.canClear(m) {
		return false, nil
	}
	blocking, err := b.blocking(m)
	return len(blocking) > 0, err
}

// MakeMany implements journal.Many.
func (b Beyond) MakeMany(ctx context.Context, m journal.Machine, all []journal.Fact) error {
	return runAll(ctx, m, all, ipcmd.RouteAdd)
}

// RemoveMany implements journal.Many.
func (b Beyond) RemoveMany(ctx context.Context, m journal.Machine, all []journal.Fact) error {
	return runAll(ctx, m, all, ipcmd.RouteDel)
}

// runAll runs one command for each route in one process.
func runAll(ctx context.Context, m journal.Machine, all []journal.Fact,
	command func(prefix netip.Prefix, via netip.Addr, dev string) cmdrun.Command) error {
	commands := make([]cmdrun.Command, len(all))
	for i, f := range all {
		b, ok := f.(Beyond)
		if !ok {
			return fmt.Errorf("%w: %s", journal.ErrFact, f)
		}
		commands[i] = command(b.Prefix, b.Via, b.Dev)
	}
	batch, ok := ipcmd.Batch(commands)
	if !ok {
		return fmt.Errorf("%w: %s: its name cannot stand in a batch", journal.ErrFact, all[0])
	}
	_, err := m.Run.Run(ctx, batch)
	return err
}
