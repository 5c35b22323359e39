// Package sever ends this machine's connections with addresses that are given to another client:
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

// Networks ends, in the calling thread's network namespace, every TCP connection and every
// connected UDP socket from or to an address in one of the networks, and deletes the conntrack
// entries that have one in either direction. Listening sockets stay, and so do unconnected UDP
// sockets. It does what `ss -K` and `conntrack -D` do (net/core/sock_diag.c, SOCK_DESTROY;
// nf_conntrack_netlink.c), and needs CAP_NET_ADMIN. A program sees ECONNABORTED on such a socket,
// and the kernel may send a reset to the address: call Networks while no client has it, and again
// if sockets may have been opened since. The Report is right even if there is an error: ErrKernel
// if this kernel cannot end sockets, the cause if ctx ended, or a failure. A kernel without
// connection tracking has no entries.
func Networks(ctx context.Context, all ...netip.Prefix) (Report, error) {
	var r Report
	// First what this machine forwards, which does not depend on how many sockets it has.
	tracked := with(ctx, unix.NETLINK_NETFILTER, func(c *netlink.Conn) error {
		four, six := byFamily(all)
		return errors.Join(forget(c, unix.AF_INET, four, false, &r.Conntrack),
			forget(c, unix.AF_INET6, six, false, &r.Conntrack))
	})
	sockets := with(ctx, unix.NETLINK_SOCK_DIAG, func(c *netlink.Conn) error {
		var errs []error
		for _, d := range dumps(all) {
			n := &r.TCP
			if d.protocol == unix.IPPROTO_UDP {
				n = &r.UDP
			}
			errs = append(errs, d.endSockets(c, n))
		}
		return errors.Join(errs...)
	})
	if errors.Is(tracked, errNoNetfilter) {
		tracked = nil
	}
	if sockets != nil {
		sockets = fmt.Errorf("end the sockets of %v: %w", all, sockets)
	}
	if tracked != nil {
		tracked = fmt.Errorf("forget the tracked connections of %v: %w", all, tracked)
	}
	return r, errors.Join(sockets, tracked)
}

// errNoNetfilter is that of a kernel without nfnetlink.
const errNoNetfilter = unix.EPROTONOSUPPORT

// Untranslated deletes the conntrack entries with an IPv4 address in one of the networks, in either
// direction, whose addresses are not translated, and returns their number. The kernel asks NAT
// rules about the first packet of a connection only: the next one counts as that then. It needs
// CAP_NET_ADMIN, too.
func Untranslated(ctx context.Context, networks ...netip.Prefix) (n int, err error) {
	err = with(ctx, unix.NETLINK_NETFILTER, func(c *netlink.Conn) error {
		return forget(c, unix.AF_INET, networks, true, &n)
	})
	if err != nil && !errors.Is(err, errNoNetfilter) {
		return n, fmt.Errorf("forget the untranslated connections of %v: %w", networks, err)
	}
	return n, nil
}

// byFamily returns the networks of IPv4 and those of IPv6.
func byFamily(all []netip.Prefix) (four, six []netip.Prefix) {
	for _, n := range all {
		if n.Addr().Is4() {
			four = append(four, n)
		} else {
			six = append(six, n)
		}
	}
	return four, six
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
