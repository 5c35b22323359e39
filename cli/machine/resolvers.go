package machine

import (
	"net/netip"

	"tunnel/cli/invocation"
	"tunnel/cmdrun"
	"tunnel/dns"
)

// guarded returns the function that names the DNS servers which a tunnel's network must not
// contain; nil for none. A user may include them by --network, but not under AT_SECURE, where the
// user has no right to other users' DNS queries.
func guarded(i *invocation.Invocation) func() ([]netip.Addr, error) {
	if i.Connect != nil && len(i.Connect.Network) == 0 || cmdrun.SecureMode() {
		return dns.Servers
	}
	return nil
}
