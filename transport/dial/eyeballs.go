package dial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/transport"
	"tunnel/transport/diagnose"
)

// attemptDelay is the time after which the next address is tried in parallel (RFC 8305 section 5).
const attemptDelay = 250 * time.Millisecond

// connectTCP resolves the host of u and connects to the first of its addresses that answers (Happy
// Eyeballs, RFC 8305). Each attempt begins when the one before has failed, or after attemptDelay.
// The first that succeeds cancels the others. guess reports whether the address is one of Known
// that the resolver has not confirmed.
func (d *Dialer) connectTCP(ctx context.Context, u *url.URL) (won attempt, guess bool,
	err error) {
	ctx, cancel := context.WithCancel(ctx) // ends the lookup
	defer cancel()
	return d.race(ctx, d.search(ctx, u.Hostname()), transport.Port(u))
}

// race connects to one of the addresses from answers, which is closed after the last.
func (d *Dialer) race(parent context.Context, answers <-chan answer, port string) (won attempt,
	guess bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	var group sync.WaitGroup
	results := make(chan attempt)
	defer func() { // cancel and close the other attempts
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
		idle    bool // the next attempt is due but has no address
	)
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-parent.Done():
			return attempt{}, false, context.Cause(parent)
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
				return r, c.guess[r.addr], nil
			}
			c.failures[r.number] = r.err
			next.Reset(0)
		case <-next.C:
			addr, number, ok := c.next()
			if !ok {
				idle = true
				break
			}
			// Not in the goroutine below: before changes this machine, must not run concurrently,
			// and must not be cancelled because another attempt has succeeded.
			if err := d.before(parent, addr, port); err != nil {
				c.failures[number] = err
				next.Reset(0)
				break
			}
			running++
			group.Go(func() {
				began := time.Now()
				conn, err := d.connectAddr(ctx, net.JoinHostPort(addr.String(), port))
				results <- attempt{number, addr, began, conn, err}
			})
			next.Reset(attemptDelay)
		}
		if answers == nil && running == 0 && len(c.waiting) == 0 {
			switch {
			case parent.Err() != nil: // the lookup was cancelled
				return attempt{}, false, context.Cause(parent)
			case len(c.last) == 0:
				return attempt{}, false, c.failed()
			}
			c.waiting, c.last, idle = c.last, nil, false
			next.Reset(0)
		}
	}
}

// attempt is the result of an attempt to connect to one address.
type attempt struct {
	number int
	addr   netip.Addr
	began  time.Time
	conn   net.Conn
	err    error
}

// candidates are the addresses of one host that are known so far.
type candidates struct {
	tried    []netip.Addr
	failures []error // of tried, nil for those that have not failed
	waiting  []netip.Addr
	last     []netip.Addr        // to try when all others have failed
	guess    map[netip.Addr]bool // whether the resolver has not confirmed an address
	name     error               // why the name does not resolve
}

// add adds the result of a lookup.
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

// failed returns the error when no address could be connected: that of the first address from the
// resolver, because one line has to suffice.
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

func (d *Dialer) before(ctx context.Context, hop netip.Addr, port string) error {
	if d.Before == nil {
		return nil
	}
	return d.Before(ctx, netip.AddrPortFrom(hop, number(port)))
}

// number returns a port as a number, 0 if it is none, to which no connection is made either.
func number(port string) uint16 {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

func (d *Dialer) connectAddr(ctx context.Context, address string) (net.Conn, error) {
	// a name may lead to a link-local address, too
	if to, err := netip.ParseAddrPort(address); err == nil {
		if _, err := localZone(to.Addr()); err != nil {
			return nil, err
		}
	}
	dialer := net.Dialer{Timeout: connectTimeout, Control: d.control()}
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
