package serve

import (
	"context"
	"log/slog"
	"net/netip"

	"tunnel/sever"
)

// severing returns the function that ends this kernel's connections with addresses that are
// reassigned.
func severing(log *slog.Logger) func(context.Context, ...netip.Prefix) error {
	return func(ctx context.Context, all ...netip.Prefix) error {
		ended, err := sever.Networks(ctx, all...)
		log.Debug("connections with addresses ended", "addresses", all, "tcp", ended.TCP, "udp",
			ended.UDP, "conntrack", ended.Conntrack)
		return err
	}
}
