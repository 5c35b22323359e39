package config

import (
	"time"

	"tunnel/config/setting"
)

// Limits of Connect.Confirm.
const (
	minConfirm = 5 * time.Second
	maxConfirm = 24 * time.Hour
)

// trafficSettings are those about what does not belong to the tunnel's network.
func (o *Connect) trafficSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "full-tunnel", Trusted: true, Category: setting.Network,
			Value: setting.Bool(&o.FullTunnel),
			Usage: "send all traffic of this machine through the server, which must let it on",
			More: "This machine's private networks stay reachable unless `--no-lan` is given. What " +
				"else would leave, and IPv6, which the tunnel does not carry, is refused at once, " +
				"for up to two minutes also after SIGKILL. Connections that came in by another " +
				"interface, also before, are answered there"},
		{Name: "no-lan", Trusted: true, Category: setting.Network, Value: setting.Bool(&o.NoLAN),
			Usage: "with --full-tunnel or --kill-switch: do not leave out this machine's own networks"},
		{Name: "kill-switch", Trusted: true, Category: setting.Network,
			Value: setting.Bool(&o.KillSwitch),
			Usage: "let nothing leave this machine but by the tunnel, from the start until a stop by " +
				"a signal, or tunnel cleanup",
			More: "It stays while there is no connection, and when the program fails or is killed; " +
				"the next run with it replaces it in one step, and one without it is refused. " +
				"The tunnel's own connection, DHCP, " +
				"neighbor discovery, loopback and, unless `--no-lan` is given, this machine's " +
				"private networks are left out, and by their interfaces local multicast (mDNS, which " +
				"finds printers by name) and broadcasts; with `--full-tunnel` not DNS (ports 53 and " +
				"853) to these. Needs nft"},
		{Name: "allow-inbound", Trusted: true, Category: setting.Network,
			Value: setting.Bool(&o.AllowInbound),
			Usage: "with --kill-switch: accept connections from beyond this machine's own networks, " +
				"and answer them there"},
		{Name: "confirm", Trusted: true, Category: setting.Machine, Value: setting.Duration(&o.Confirm),
			Usage: "undo everything and end after `TIME`, unless tunnel confirm is run before",
			More: "For a machine that is reached through what the program changes. The time begins " +
				"with the first change of a run. Until then nothing stays, not even a kill switch, " +
				"whose end the kernel sees to if this program is killed"},
	}
}

// checkTraffic notes all problems in the settings of trafficSettings.
func (o *Connect) checkTraffic(c *setting.Checker) {
	if o.NoLAN && !o.FullTunnel && !o.KillSwitch {
		c.About("no-lan", "--no-lan is for --full-tunnel and --kill-switch: give one of them")
	}
	if o.AllowInbound && !o.KillSwitch {
		c.About("allow-inbound", "--allow-inbound is for --kill-switch: without it connections from "+
			"outside are accepted")
	}
	if c.From.Given("confirm") && (o.Confirm < minConfirm || o.Confirm > maxConfirm) {
		c.Wrong("confirm", " %v is not within %v to %v", o.Confirm, minConfirm, maxConfirm)
	}
}
