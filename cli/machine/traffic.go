package machine

import (
	"context"
	"errors"
	"fmt"

	"tunnel/config"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/route"
	"tunnel/transport"
)

// Mark returns the mark that a client's connections need, 0 for none. With nil, that is a server,
// they need none.
func Mark(told *config.Connect) uint32 {
	if told == nil || !told.FullTunnel && !told.KillSwitch {
		return 0
	}
	return route.Mark
}

// Traffic returns what a client's flags say about the traffic of its machine, in an otherwise zero
// Want.
func Traffic(told *config.Connect) (w host.Want) {
	w.Full = host.Full{On: told.FullTunnel, NoLAN: told.FullTunnel && told.NoLAN,
		Answer: told.FullTunnel && (!told.KillSwitch || told.AllowInbound)}
	if told.KillSwitch {
		w.LAN = !told.NoLAN
		w.Firewall.KillSwitch = &firewall.KillSwitch{Mark: route.Mark, GuardDNS: told.FullTunnel,
			Inbound: told.AllowInbound}
	}
	return w
}

// allowSeal is Allow for a client before its first session: all that it may set is a kill switch.
func (d *direct) allowSeal(want host.Want) error {
	if err := d.allowDevice(want); err != nil {
		return err
	}
	switch rules := Traffic(d.now().Connect).Firewall; {
	case want.Firewall.KillSwitch == nil || want.Full != (host.Full{}):
		return errors.New("refused: not one address, and a route")
	case !want.Firewall.Equal(rules) || len(want.Sysctls) > 0 || !want.Names.IsZero():
		return errors.New("refused: more than a kill switch before the first session")
	}
	d.changes()
	return nil
}

// allowDevice is Allow for what of a client's Want is no address, route or traffic.
func (d *direct) allowDevice(want host.Want) error {
	allowed := Traffic(d.now().Connect)
	switch {
	case want.Dev != d.now().Common.Dev:
		return errors.New("refused: another device")
	case want.MTU < transport.MinMTU || want.MTU > transport.MaxMTU || want.Qlen < 1 ||
		want.Qlen > transport.MaxQlen:
		return fmt.Errorf("refused: mtu %d, qlen %d", want.MTU, want.Qlen)
	case want.LAN != allowed.LAN:
		return errors.New("refused: another LAN than the flags say")
	}
	return nil
}

// kept is the Host of a client in one process: End closes it.
type kept struct {
	*host.Host
	d *direct
}

// Apply implements client.Host.
func (k kept) Apply(ctx context.Context, w host.Want) error {
	k.d.changes()
	return k.Host.Apply(ctx, w)
}

// Close implements client.Host.
func (k kept) Close() error { return k.Release() }
