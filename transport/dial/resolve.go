package dial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"tunnel/dns/plain"
	"tunnel/transport"
)

const (
	// resolutionDelay is how long the lookup waits for one address family after the other was
	// answered (RFC 8305 section 3), and how long the lookup of both may take before each family is
	// looked up by itself.
	resolutionDelay = 50 * time.Millisecond
	// knownDelay is the time after which the last known address is tried in parallel to the lookup.
	knownDelay = time.Second
	// spentDelay is how long the lookups of single families may continue after that of both has
	// timed out: they began later.
	spentDelay = time.Second
	// lateAnswers is the factor of the time-outs of resolv.conf(5) in the lookups of single
	// families. getaddrinfo(3) asks twice from one socket, so that it also accepts a late answer to
	// the first query.
	lateAnswers = 2
)

// An answer has addresses of one host, or an error.
type answer struct {
	addrs []netip.Addr // in the order in which to try them
	known bool         // the address is from Dialer.Known, not from the resolver
	last  bool         // to be tried only when all others have failed
	err   error        // of the lookup; addrs is then empty
}

// search looks up the addresses of host and returns them as they become known; the channel is
// closed when there are no more. It stops when ctx ends.
//
// Both address families are looked up together, which searches the domains of resolv.conf(5) as
// getaddrinfo(3) does and sorts the result by RFC 6724. That lookup is as slow as the slower
// family, and some resolvers drop one of the two queries. When it is late, each family is therefore
// looked up by itself as well (RFC 8305 section 3), with time-outs twice as long. The only limit is
// that of the lookup of both (timeout, attempts and the number of name servers in resolv.conf(5)):
// a shorter one would end before the second name server is asked. By then the lookups of one family
// have asked each name server once.
func (d *Dialer) search(ctx context.Context, host string) <-chan answer {
	answers := make(chan answer, 5) // the maximum, so that no send blocks
	if d.Hop.IsValid() {
		answers <- answer{addrs: []netip.Addr{d.Hop}}
		close(answers)
		return answers
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a, err = localZone(a.Unmap()); err != nil {
			answers <- answer{err: err}
		} else {
			answers <- answer{addrs: []netip.Addr{a}}
		}
		close(answers)
		return answers
	}
	go func() {
		defer close(answers)
		d.lookup(ctx, host, answers)
	}()
	return answers
}

// A lookupResult is the result of one lookup.
type lookupResult struct {
	network string
	addrs   []netip.Addr
	err     error
}

// lookup is search for a name.
func (d *Dialer) lookup(ctx context.Context, host string, answers chan<- answer) {
	resolver := cmp.Or(d.Resolver, net.DefaultResolver)
	quick, patient := plain.Resolver(resolver, 1), plain.Resolver(resolver, lateAnswers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan lookupResult, 3)
	running := 0
	begin := func(network string, resolver *net.Resolver) {
		running++
		go func() {
			addrs, err := resolver.LookupNetIP(ctx, network, transport.ASCIIHost(host))
			results <- lookupResult{network, addrs, err}
		}()
	}
	begin("ip", quick)
	var (
		late  = time.After(resolutionDelay)
		known = time.After(knownDelay)
		spent <-chan time.Time // ends all lookups, after that of both has timed out
		grace <-chan time.Time // ends the wait for AAAA
		v4    []netip.Addr     // held back until then
		v6    bool             // AAAA was answered
		found bool
		fails []error
	)
	send := func(addrs []netip.Addr) {
		found = found || len(addrs) > 0
		if len(addrs) > 0 {
			answers <- answer{addrs: addrs}
		}
	}
	sendKnown := func() {
		if a := d.Known[host]; a.IsValid() && known != nil {
			answers <- answer{addrs: []netip.Addr{a}, known: true, last: found}
		}
		known = nil
	}
	for running > 0 {
		select {
		case r := <-results:
			if ctx.Err() != nil { // the lookup was cancelled
				return
			}
			running--
			if r.err != nil {
				fails = append(fails, r.err)
			}
			switch {
			case r.network == "ip" && (r.err == nil || late != nil): // late != nil: no other lookup runs
				send(interleave(r.addrs))
				running = 0
			case r.network == "ip" && timedOut(r.err):
				spent = time.After(spentDelay)
			case r.network == "ip4" && v6:
				send(r.addrs)
			case r.network == "ip4":
				v4, grace = r.addrs, time.After(resolutionDelay)
			case r.network == "ip6":
				send(interleave(append(r.addrs, v4...)))
				v4, v6 = nil, true
			}
		case <-spent:
			running = 0
		case <-grace:
			send(interleave(v4))
			v4 = nil
		case <-late:
			late = nil
			begin("ip4", patient)
			begin("ip6", patient)
		case <-known:
			if !found {
				sendKnown()
			}
		case <-ctx.Done():
			return
		}
	}
	send(interleave(v4))
	sendKnown()
	if !found {
		answers <- answer{err: nameError(host, fails)}
	}
}

// timedOut reports whether a lookup has failed because no name server answered in time.
func timedOut(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsTimeout
}

// nameError returns the error for a name without an address. It prefers any other error to one that
// a family has no address.
func nameError(host string, fails []error) error {
	var worst *net.DNSError
	for _, err := range fails {
		var e *net.DNSError
		if errors.As(err, &e) && (worst == nil || worst.IsNotFound && !e.IsNotFound) {
			worst = e
		}
	}
	err := cmp.Or(fails...)
	switch {
	case worst != nil && worst.IsTimeout && worst.Server != "":
		err = fmt.Errorf("the name server %s does not answer", worst.Server)
	case worst != nil:
		// without the address of the DNS server, which is not what failed
		err = errors.New(worst.Err)
	case err == nil:
		err = errors.New("no such host")
	}
	return &transport.StepError{Step: transport.StepName, Err: fmt.Errorf("resolve %s: %w", host,
		err), Advice: "check the name, or this machine's DNS"}
}

// localZone checks the zone of a link-local address and returns it by the name of its interface: a
// zone may be an index as well (RFC 4007 section 11.2).
func localZone(a netip.Addr) (netip.Addr, error) {
	fail := func(format string, args ...any) (netip.Addr, error) {
		return netip.Addr{}, &transport.StepError{Step: transport.StepTCP,
			Err: fmt.Errorf(format, args...),
			Advice: "name the interface that leads there, as in [fe80::1%25eth0]: `ip link` lists " +
				"them"}
	}
	zone := a.Zone()
	switch {
	case !a.Is6() || !a.IsLinkLocalUnicast():
		return a.WithZone(""), nil // a zone has no meaning for other addresses
	case zone == "":
		return fail("connect to %s: a link-local address needs its interface", a)
	}
	link, err := net.InterfaceByName(zone)
	if index, number := strconv.Atoi(zone); err != nil && number == nil {
		link, err = net.InterfaceByIndex(index)
	}
	if err != nil {
		return fail("connect to %s: this machine has no interface %s", a, zone)
	}
	return a.WithZone(link.Name), nil
}

// interleave returns addrs with alternating families, beginning with that of the first (RFC 8305
// section 4): a family that does not work then costs one attemptDelay, not one for each address.
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
