package dial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"

	"golang.org/x/sys/unix"

	"tunnel/transport"
)

// ProxyURL returns the proxy that Connect uses, nil for none. The error is a *transport.StepError.
func (d *Dialer) ProxyURL() (*url.URL, error) { return d.proxy() }

// Addresses returns all addresses that Connect may try, those of the proxy if there is one, in the
// order in which they become known. The error is a *transport.StepError.
func (d *Dialer) Addresses(ctx context.Context) (all []netip.AddrPort, err error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the lookup
	defer cancel()
	to := cmp.Or(proxy, d.URL)
	var c candidates
	for a := range d.search(ctx, to.Hostname()) {
		c.add(a)
		err = cmp.Or(err, a.err)
	}
	for addr, _, ok := c.next(); ok; addr, _, ok = c.next() {
		all = append(all, netip.AddrPortFrom(addr, number(transport.Port(to))))
	}
	switch {
	case len(all) > 0:
		return all, nil
	case err == nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// Reach connects to an address of Addresses by TCP alone, and hangs up. The error is a
// *transport.StepError.
func (d *Dialer) Reach(ctx context.Context, to netip.AddrPort) error {
	conn, err := d.connectAddr(ctx, net.JoinHostPort(to.Addr().String(), fmt.Sprint(to.Port())))
	if err != nil {
		return err
	}
	return conn.Close()
}

// control returns what net.Dialer.Control does for a connection of d.
func (d *Dialer) control() func(network, address string, raw syscall.RawConn) error {
	mark := Control(d.Mark)
	if d.MaxSegment == 0 {
		return mark
	}
	return func(network, address string, raw syscall.RawConn) error {
		if mark != nil {
			if err := mark(network, address, raw); err != nil {
				return err
			}
		}
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, d.MaxSegment)
		})
		return errors.Join(err, failed)
	}
}
