package machine

import (
	"errors"
	"fmt"
	"net/netip"

	"tunnel/dns"
)

// allowNames returns an error unless a client may have its names resolved so: by servers in the
// networks, which are reached through the tunnel, and those of all domains as its flags say.
func (d *direct) allowNames(names dns.Config, networks []netip.Prefix) error {
	switch err := names.Check(); {
	case names.IsZero():
		return nil
	case err != nil:
		return fmt.Errorf("refused: %w", err)
	case names.All != d.now().Connect.AllNames():
		return errors.New("refused: DNS of all names that no flag accepts, or not of all")
	case !names.Equal(names.Within(networks, d.now().Connect.FullTunnel)):
		return errors.New("refused: a DNS server that is not behind the tunnel")
	}
	return nil
}
