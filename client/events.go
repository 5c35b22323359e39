package client

import (
	"context"
	"net/netip"

	"tunnel/dns"
	"tunnel/host"
	"tunnel/transport"
)

// Events are callbacks, called on Run's goroutine unless a field says otherwise. Fields may be nil.
type Events struct {
	Sealed    func()               // the kill switch is on; not nil if there is one
	Connected func(transport.Link) // a session has begun, the device is configured
	// the session has ended; the device stays configured
	Lost func(error)
	// there is no session, and the next attempt comes after a pause
	Waits func(reason error)
	// the device has this address; called on a goroutine of its own
	Up   func(context.Context, host.Address)
	Down func(host.Address) // the device is about to lose it; Up has returned
	// what the client takes of the networks that the server pushes has changed, or what it refuses
	// because the user has not accepted it; called on a goroutine of its own, during a session
	Routes func(taken, refused []netip.Prefix)
	// the server's DNS settings that this machine uses have changed, or why it cannot use them;
	// called on a goroutine of its own
	Names func(dns.Config, error)
	// these DNS servers of the server lie in no network that the client takes; as Routes
	Unreached func(servers []netip.Addr)
	// the server is to resolve all names, and none of its DNS servers is used; as Routes
	Nameless func()
	// the server does not let this client offer these networks; as Routes
	Disallowed func(networks []netip.Prefix)
}
