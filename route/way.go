package route

import (
	"context"
	"fmt"
	"net/netip"
	"os"
)

// Way is how packets to one address leave this machine.
type Way struct {
	Dev     string     // the card
	Gateway netip.Addr // not valid when the address is on the link, or this machine's own
}

// Way returns how packets to server leave this machine now, by a bypass if it has one. Without any way the error is an
// ErrNoRoute.
func (r *Router) Way(ctx context.Context, server netip.Addr) (Way, error) {
	server = server.Unmap()
	if server.IsLoopback() {
		return Way{Dev: "lo"}, nil
	}
	if zone := server.Zone(); zone != "" { // a link-local address: it is on the link that it names, and ip takes no zone
		return Way{Dev: zone}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return Way{}, fmt.Errorf("find the way to %s: %w", server, os.ErrClosed)
	}
	hop, err := r.get(ctx, server)
	if err != nil {
		return Way{}, fmt.Errorf("find the way to %s: %w", server, err)
	}
	return Way{Dev: hop.Dev, Gateway: hop.Gateway}, nil
}
