package transport

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
)

// attemptDelay is how long one address is waited for before the next is tried beside it (RFC 8305 section 5).
const attemptDelay = 250 * time.Millisecond

// connectTCP resolves the host of u and connects to whichever of its addresses answers first (happy eyeballs, RFC 8305):
// one attempt after the other begins, at once when one has failed and else after attemptDelay; the first that succeeds
// ends the others.
func (d *Dialer) connectTCP(ctx context.Context, u *url.URL) (net.Conn, error) {
	addrs, err := d.resolve(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	return d.race(ctx, addrs, port(u))
}

// race connects to one of addrs, which are tried in this order.
func (d *Dialer) race(parent context.Context, addrs []netip.Addr, port string) (net.Conn, error) {
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
	var failures []error // in the order of addrs, nil for those that have not failed
	running := 0
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-parent.Done():
			return nil, context.Cause(parent)
		case r := <-results:
			running--
			if r.err == nil {
				return r.conn, nil
			}
			failures[r.number] = r.err
			next.Reset(0)
		case <-next.C:
			number := len(failures)
			if number == len(addrs) {
				break
			}
			failures = append(failures, nil)
			// Here, not beside the others: the changes that it makes to this machine come one after the other, and none
			// is cut short because another attempt has succeeded.
			if err := d.before(parent, addrs[number]); err != nil {
				failures[number] = err
				next.Reset(0)
				break
			}
			running++
			group.Go(func() {
				conn, err := connectAddr(ctx, net.JoinHostPort(addrs[number].String(), port))
				results <- attempt{number, conn, err}
			})
			next.Reset(attemptDelay)
		}
		if running == 0 && len(failures) == len(addrs) {
			return nil, cmp.Or(failures...) // of the first address: with several, one line has to do
		}
	}
}

// attempt is how the attempt to connect to one address has ended.
type attempt struct {
	number int
	conn   net.Conn
	err    error
}

func (d *Dialer) before(ctx context.Context, hop netip.Addr) error {
	if d.Before == nil {
		return nil
	}
	return d.Before(ctx, hop)
}

func connectAddr(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		advice := "check that the server runs, its port, and firewalls between"
		if errors.Is(err, unix.ECONNRESET) {
			advice = adviseReset
		}
		return nil, &StepError{StepTCP, fmt.Errorf("connect to %w", plain(err)), advice}
	}
	return conn, nil
}

// resolve returns the addresses of host in the order in which to try them: as the system's rules sort them (RFC 6724), but
// with the families in turn (RFC 8305 section 4), so that one that is dead costs one attemptDelay and not one for each of
// its addresses.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		var e *net.DNSError
		if errors.As(err, &e) {
			err = errors.New(e.Err) // without the address of the DNS server, which is not what failed
		}
		return nil, &StepError{StepName, fmt.Errorf("resolve %s: %w", host, err), "check the name, or this machine's DNS"}
	}
	return interleave(addrs), nil
}

// interleave returns addrs with the families in turn, beginning with that of the first.
func interleave(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		family := 0
		if len(families[0]) > 0 && families[0][0].Is4() != a.Is4() {
			family = 1
		}
		families[family] = append(families[family], a)
	}
	sorted := make([]netip.Addr, 0, len(addrs))
	for i := range addrs {
		for _, family := range families {
			if i < len(family) {
				sorted = append(sorted, family[i])
			}
		}
	}
	return sorted
}
