package connect

import (
	"log/slog"
	"net/netip"
	"slices"

	"tunnel/cli/failure"
	"tunnel/config"
	"tunnel/dns"
	"tunnel/route"
)

// logNames logs why the server's DNS settings cannot be used. What sets them logs that it does.
func logNames(log *slog.Logger, names dns.Config, err error) {
	if err == nil {
		log.Debug("DNS of the server", "servers", names.Servers, "domains", names.Domains,
			"all_names", names.All)
		return
	}
	log.Warn("the server's DNS is not used", append([]any{"reason", err},
		failure.Of(err).AdviceAttr()...)...)
}

// warnNameless warns that names do not resolve in a full tunnel whose server has told of no DNS
// server, because those of this machine are on its LAN, and the flags let no questions pass there.
func warnNameless(told *config.Connect, log *slog.Logger) {
	if !told.FullTunnel || !told.KillSwitch && !told.NoLAN {
		return
	}
	if servers, err := dns.Servers(); err == nil && onLAN(servers) {
		log.Warn("names do not resolve: this machine's DNS servers are on its LAN, which --kill-switch "+
			"and --no-lan do not let a full tunnel ask: have the server tell of one, such as "+
			"`tunnel serve --dns 9.9.9.9`", "dns", servers)
	}
}

// onLAN reports whether all DNS servers that are not on this machine have private addresses.
func onLAN(servers []netip.Addr) bool {
	servers = slices.DeleteFunc(slices.Clone(servers), netip.Addr.IsLoopback)
	return len(servers) > 0 && !slices.ContainsFunc(servers, func(a netip.Addr) bool {
		return a.Is4() && !route.IsPrivate(netip.PrefixFrom(a, a.BitLen()))
	})
}
