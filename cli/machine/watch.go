package machine

import (
	"log/slog"

	"tunnel/client"
	"tunnel/dns"
	"tunnel/netwatch"
)

// WatchNetwork returns the source of changes of this machine's network; nil if rtnetlink is not
// allowed. A client then notices a change only when its connection stops working.
func WatchNetwork(log *slog.Logger) client.Network {
	w, err := netwatch.Open(dns.Files()...)
	if err != nil {
		log.Warn("changes of this machine's network are noticed late", "err", err)
		return nil
	}
	return w
}
