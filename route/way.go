package route

import (
	"context"
	"fmt"
	"net/netip"
	"os"
)

// Way is how packets to one address leave this machine.
type Way struct {
	Dev     string     // the interface
	Gateway netip.Addr // not valid when the address is on the link, or this machine's own
	Index   int        // of Dev; 0 if there is no such interface
	Running bool       // Dev is up and has something at its other end
}

// Way returns how packets to server leave this machine now, by a bypass if it has one. Without any way the error is an
// ErrNoRoute.
func (r *Router) Way(_ context.Context, server netip.Addr) (Way, error) {
	server = server.Unmap()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return Way{}, fmt.Errorf("find the way to %s: %w", server, os.ErrClosed)
	}
	if r.look == nil {
		return Way{}, fmt.Errorf("find the way to %s: %w", server, errNoLookup)
	}
	found, err := r.resolve(server)
	if err != nil || len(found.Hops) == 0 {
		return Way{}, fmt.Errorf("find the way to %s: %w", server, err)
	}
	way := Way{Gateway: found.Hops[0].Via}
	link, err := r.look.LinkByIndex(found.Hops[0].Index)
	if err != nil {
		return Way{}, fmt.Errorf("find the way to %s: %w", server, err)
	}
	way.Dev, way.Index, way.Running = link.Name, link.Index, link.Running
	return way, nil
}
