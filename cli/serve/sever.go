package serve

import (
	"context"
	"log/slog"
	"net/netip"

	"tunnel/sever"
)

// severing returns the function that ends this kernel's connections with an address that is
// reassigned.
func severing(log *slog.Logger) func(context.Context, netip.Addr) error {
	return func(ctx context.Context, a netip.Addr) error {
		ended, err := sever.Address(ctx, a)
		log.Debug("connections with an address ended", "address", a, "tcp", ended.TCP, "udp",
			ended.UDP, "conntrack", ended.Conntrack)
		return err
	}
}
