package cli

import (
	"context"
	"net"
	"net/netip"
)

// listenAddress returns text, of --listen, as an address that nobody needs to resolve: the process that listens may be
// root, which reads no strangers' bytes, so not those of a name server either.
func listenAddress(ctx context.Context, text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", usage("--listen %s is not [HOST]:PORT", text)
	}
	// A number, or a name that this machine's /etc/services has.
	if _, err := net.DefaultResolver.LookupPort(ctx, "tcp", port); err != nil || port == "" {
		return "", usage("--listen %s: %q is no port, which is 0 to 65535", text, port)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		return "", usage("--listen %s: %q is no address, and names are not resolved: give one of this machine's "+
			"(`ip addr`), or none for all", text, host)
	}
	return net.JoinHostPort(host, port), nil
}
