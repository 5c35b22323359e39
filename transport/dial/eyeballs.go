package dial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/transport"
	"tunnel/transport/diagnose"
)

// attemptDelay is how long one address is waited for before the next is tried beside it (RFC 8305
// section 5).
const attemptDelay = 250 * time.Millisecond

// connectTCP resolves the host of u and connects to whichever of its addresses answers first (happy
// eyeballs, RFC 8305): one attempt after the other begins, at once when one has failed and else
// after attemptDelay; the first that succeeds ends the others. guess reports that the address is
// one of Known which the resolver has not confirmed.
func (d *Dialer) connectTCP(ctx context.Context, u *url.URL) (conn net.Conn, guess bool,
	err error) {
	ctx, cancel := context.WithCancel(ctx) // ends the lookup
	defer cancel()
	return d.race(ctx, d.search(ctx, u.Hostname()), transport.Port(u))
}

// race connects to one of the addresses that come from answers, which is closed after the last.
func (d *Dialer) race(parent context.Context, answers <-chan answer, port string) (conn net.Conn,
	guess bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	var group sync.WaitGroup
	results := make(chan attempt)
	defer func() { // the losers
		cancel()
		go func() {
			group.Wait()
			close(results)
		}()
		for late := range results {
			if late.conn != nil {
				_ = late.conn.Close()
			}
		}
	}()
	var (
		c       candidates
		running int
		idle    bool // the next attempt may begin as soon as there is an address for it
	)
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-parent.Done():
			return nil, false, context.Cause(parent)
		case a, more := <-answers:
			if !more {
				answers = nil
				break
			}
			c.add(a)
			if idle {
				idle = false
				next.Reset(0)
			}
		case r := <-results:
			running--
			if r.err == nil {
				return r.conn, c.guess[r.addr], nil
			}
			c.failures[r.number] = r.err
			next.Reset(0)
		case <-next.C:
			addr, number, ok := c.next()
			if !ok {
				idle = true
				break
			}
			// Here, not beside the others: the changes that it makes to this machine come one after
			// the other, and none is cut short because another attempt has succeeded.
			if err := d.before(parent, addr); err != nil {
				c.failures[number] = err
				next.Reset(0)
				break
			}
			running++
			group.Go(func() {
				conn, err := connectAddr(ctx, net.JoinHostPort(addr.String(), port))
				results <- attempt{number, addr, conn, err}
			})
			next.Reset(attemptDelay)
		}
		if answers == nil && running == 0 && len(c.waiting) == 0 {
			switch {
			case parent.Err() != nil: // which ended the lookup
				return nil, false, context.Cause(parent)
			case len(c.last) == 0:
				return nil, false, c.failed()
			}
			c.waiting, c.last, idle = c.last, nil, false
			next.Reset(0)
		}
	}
}

// attempt is how the attempt to connect to one address has ended.
type attempt struct {
	number int
	addr   netip.Addr
	conn   net.Conn
	err    error
}

// candidates are the addresses of one host, as far as they are known.
type candidates struct {
	tried    []netip.Addr
	failures []error // of tried, nil for those that have not failed
	waiting  []netip.Addr
	last     []netip.Addr        // to be tried when all others have failed
	guess    map[netip.Addr]bool // those that the resolver has not named
	name     error               // why the name does not resolve
}

// add takes what a lookup has brought.
func (c *candidates) add(a answer) {
	if c.guess == nil {
		c.guess = map[netip.Addr]bool{}
	}
	c.name = cmp.Or(c.name, a.err)
	for _, addr := range a.addrs {
		_, seen := c.guess[addr]
		switch {
		case a.last && seen:
		case a.last:
			c.guess[addr] = true
			c.last = append(c.last, addr)
		default:
			c.guess[addr] = a.known
			if !seen {
				c.waiting = append(c.waiting, addr)
			}
		}
	}
	c.waiting = interleave(c.waiting)
}

// next returns the address to try now; number counts them.
func (c *candidates) next() (addr netip.Addr, number int, ok bool) {
	if len(c.waiting) == 0 {
		return netip.Addr{}, 0, false
	}
	addr, c.waiting = c.waiting[0], c.waiting[1:]
	c.tried, c.failures = append(c.tried, addr), append(c.failures, nil)
	return addr, len(c.tried) - 1, true
}

// failed returns why there is no connection: the failure of the first address that the resolver has
// named, since one line has to do for several.
func (c *candidates) failed() error {
	for i, addr := range c.tried {
		if !c.guess[addr] {
			return c.failures[i]
		}
	}
	var name *transport.StepError
	if !errors.As(c.name, &name) || len(c.tried) == 0 {
		return cmp.Or(append([]error{c.name}, c.failures...)...)
	}
	return &transport.StepError{Step: transport.StepName, Advice: name.Advice,
		Err: fmt.Errorf("%w (nor does the address of last time do: %w)", name.Err,
			diagnose.Plain(c.failures[0]))}
}

func (d *Dialer) before(ctx context.Context, hop netip.Addr) error {
	if d.Before == nil {
		return nil
	}
	return d.Before(ctx, hop)
}

func connectAddr(ctx context.Context, address string) (net.Conn, error) {
	// a name may lead to a link-local address, too
	if to, err := netip.ParseAddrPort(address); err == nil {
		if _, err := localZone(to.Addr()); err != nil {
			return nil, err
		}
	}
	dialer := net.Dialer{Timeout: connectTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		advice := "check that the server runs, its port, and firewalls between"
		if errors.Is(err, unix.ECONNRESET) {
			advice = diagnose.AdviseReset
		}
		return nil, &transport.StepError{Step: transport.StepTCP, Err: fmt.Errorf("connect to %w",
			diagnose.Plain(err)), Advice: advice}
	}
	return conn, nil
}
