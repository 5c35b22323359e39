// Package sever ends this machine's connections with an address that is given to another client:
// what the kernel would retransmit to the old client must not reach the new one.
package sever

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrKernel means that this kernel cannot end sockets (no CONFIG_INET_DIAG_DESTROY, or no tcp_diag
// or udp_diag).
var ErrKernel = errors.New("the kernel cannot end sockets")

// Report counts what was ended.
type Report struct {
	TCP       int // connections, in any state
	UDP       int // connected sockets
	Conntrack int // entries of connection tracking
}

// Address ends, in the calling thread's network namespace, every TCP connection and every connected
// UDP socket from or to a, and deletes the conntrack entries that have a in either direction.
// Listening sockets stay, and so do unconnected UDP sockets. It does what `ss -K` and
// `conntrack -D` do (net/core/sock_diag.c, SOCK_DESTROY; nf_conntrack_netlink.c), and needs
// CAP_NET_ADMIN. A program sees ECONNABORTED on such a socket, and the kernel may send a reset to
// a: call Address while no client has a, and again if sockets may have been opened since. The
// Report is right even if there is an error: ErrKernel if this kernel cannot end sockets, the cause
// if ctx ended, or a failure. A kernel without connection tracking has no entries.
func Address(ctx context.Context, a netip.Addr) (Report, error) {
	var r Report
	a = a.Unmap()
	sockets := with(ctx, unix.NETLINK_SOCK_DIAG, func(c *netlink.Conn) error {
		var errs []error
		for _, family := range families(a) {
			errs = append(errs, endSockets(c, a, family, unix.IPPROTO_TCP, &r.TCP),
				endSockets(c, a, family, unix.IPPROTO_UDP, &r.UDP))
		}
		return errors.Join(errs...)
	})
	tracked := with(ctx, unix.NETLINK_NETFILTER,
		func(c *netlink.Conn) error { return forget(c, a, &r.Conntrack) })
	if errors.Is(tracked, unix.EPROTONOSUPPORT) { // no nfnetlink
		tracked = nil
	}
	if sockets != nil {
		sockets = fmt.Errorf("end the sockets of %s: %w", a, sockets)
	}
	if tracked != nil {
		tracked = fmt.Errorf("forget the tracked connections of %s: %w", a, tracked)
	}
	return r, errors.Join(sockets, tracked)
}

// families returns the families of the sockets that can have a: IPv6 sockets can have IPv4
// addresses (RFC 3493 section 3.7).
func families(a netip.Addr) []uint8 {
	if a.Is4() {
		return []uint8{unix.AF_INET, unix.AF_INET6}
	}
	return []uint8{unix.AF_INET6}
}

// with runs f on a netlink connection; the end of ctx ends f.
func with(ctx context.Context, protocol int, f func(*netlink.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	c, err := netlink.Dial(protocol, nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if err := f(c); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}
