package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"tunnel/doctor"
	"tunnel/transport"
)

// lookUp resolves the name of the proxy, or of the server without one.
func (p *path) lookUp(ctx context.Context) ([]netip.AddrPort, bool) {
	host := p.Dialer.URL.Hostname()
	what := host
	if p.proxy != nil {
		host = p.proxy.Hostname()
		what = "the proxy " + host
	}
	if _, err := netip.ParseAddr(host); err != nil {
		ctx, cancel := context.WithTimeout(ctx, 2*stepTime)
		defer cancel()
		addrs, err := p.Dialer.Addresses(ctx)
		if err != nil {
			p.noName(what, err)
			return nil, false
		}
		p.judgeName(ctx, what, host, addrs)
		return addrs, true
	}
	addrs, err := p.Dialer.Addresses(ctx)
	if err != nil { // a link-local address without its interface
		p.fail(checkName, doctor.NameNotFound, err, "")
		return nil, false
	}
	p.ok(checkName, "%s is an address", what)
	return addrs, true
}

func (p *path) noName(what string, err error) {
	servers, cause := p.names.all(), plain(err)
	if p.proxy != nil {
		cause = fmt.Errorf("%s%s: %w", what, p.proxySource(), cause)
	}
	problem := doctor.NameNotFound
	if strings.Contains(err.Error(), "does not answer") || timedOut(err) {
		problem = doctor.NameServerSilent
	}
	by := "no name server was asked"
	if len(servers) > 0 {
		by = "asked: " + strings.Join(servers, ", ")
	}
	p.fail(checkName, problem, fmt.Errorf("%w (%s)", cause, by), adviceOf(err))
}

// adviceOf returns the advice of a *transport.StepError.
func adviceOf(err error) string {
	var step *transport.StepError
	if errors.As(err, &step) && step.Reason == "" {
		return step.Advice
	}
	return ""
}

// judgeName reports the addresses of a name, and whether they can be true.
func (p *path) judgeName(ctx context.Context, what, host string, addrs []netip.AddrPort) {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.Addr().String()
	}
	if len(texts) > mostAddresses {
		texts = append(texts[:mostAddresses], fmt.Sprintf("… (%d more)", len(texts)-mostAddresses))
	}
	saw := what + " is " + strings.Join(texts, ", ")
	servers := p.names.all()
	if len(servers) == 0 {
		p.ok(checkName, "%s, without a name server (/etc/hosts)", saw)
		return
	}
	saw += ", says " + strings.Join(servers, ", ")
	const advice = "something on this network answers in the place of the name servers, as hotels " +
		"do before a login: log in, use another name server, or put the right address into /etc/hosts"
	switch {
	case isPublicName(host) && !slices.ContainsFunc(addrs, isPublicAddr):
		p.warn(checkName, doctor.NameLies, saw+": no public address for a public name", advice+
			" (within the server's own network a private address may be right)")
	case p.inventsNames(ctx):
		p.warn(checkName, doctor.NameLies, saw+", which also has an address for a name that cannot "+
			"exist", advice)
	default:
		p.ok(checkName, "%s", saw)
	}
}

// isPublicName reports whether a name is one of the internet's DNS: its end is in the list of
// public suffixes.
func isPublicName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(transport.ASCIIHost(host)), ".")
	suffix, listed := publicsuffix.PublicSuffix(host)
	return listed && suffix != host
}

// isPublicAddr reports whether a server on the internet may have the address.
func isPublicAddr(to netip.AddrPort) bool {
	a := to.Addr().Unmap()
	shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}

// inventsNames reports whether the name servers have an address for a name below .invalid, which
// never exists (RFC 6761 section 6.4).
func (p *path) inventsNames(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, stepTime/2)
	defer cancel()
	name := "doctor-" + strings.ToLower(rand.Text()[:12]) + ".invalid."
	addrs, err := p.Dialer.Resolver.LookupNetIP(ctx, "ip4", name)
	var failed *net.DNSError
	return len(addrs) > 0 && !errors.As(err, &failed)
}

// accuse makes a doubtful answer of DNS the failure if a later step has failed.
func (p *path) accuse() {
	failed := slices.ContainsFunc(p.found,
		func(f doctor.Finding) bool { return f.Verdict == doctor.Fail })
	for i := range p.found {
		if failed && p.found[i].Problem == doctor.NameLies {
			p.found[i].Verdict = doctor.Fail
		}
	}
}
