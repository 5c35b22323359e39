// Package remote examines the path to a server step by step: name, TCP, proxy, TLS, upgrade,
// protocol, quality. It uses the client's own dialer, logs in with the client's token, and ends
// before a session begins: the server gives no address, and a running client of the same token
// keeps its own. It changes nothing on this machine.
package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/tcp"
)

// Server is what the checks of one path need.
type Server struct {
	// Dialer is that of a client, without Known, Hop and Before. Its Resolver may be nil.
	Dialer dial.Dialer
	Token  string // "" for none
	Header http.Header
	// ProxyFrom says what has named the proxy, such as "HTTPS_PROXY"; "" if there is none.
	ProxyFrom string
}

// The names of the checks, in their order.
const (
	checkProxy    = "proxy"
	checkName     = "name"
	checkTCP      = "tcp"
	checkTLS      = "tls"
	checkClock    = "server clock"
	checkUpgrade  = "upgrade"
	checkProtocol = "protocol"
	checkQuality  = "quality"
)

// mostAddresses is how many addresses of a name are looked at.
const mostAddresses = 8

// stepTime bounds each step. It is longer than what a slow path needs.
const stepTime = 6 * time.Second

// path is one run of the checks.
type path struct {
	Server

	proxy *url.URL // nil for none
	names asked    // by the resolver
	seen  *tls.ConnectionState
	found []doctor.Finding
}

// Check examines the path to a server. It takes less than a minute, however broken the path is.
func Check(ctx context.Context, s Server) []doctor.Finding {
	p := &path{Server: s}
	p.Dialer.Sent = p.Dialer.Sent.AndRequest(s.Token, s.Header)
	p.run(ctx)
	p.accuse()
	return p.found
}

// run adds findings up to the first that fails.
func (p *path) run(ctx context.Context) {
	if !p.findProxy() {
		return
	}
	p.Dialer.Resolver = p.names.recording(p.Dialer.Resolver)
	addrs, known := p.lookUp(ctx)
	if !known || !p.connectAll(ctx, addrs) {
		return
	}
	conn := p.secure(ctx)
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	early, upgraded := p.upgrade(ctx, conn)
	if upgraded {
		p.measure(ctx, conn, early)
	}
}

func (p *path) add(f doctor.Finding) { p.found = append(p.found, f) }

func (p *path) ok(check, format string, args ...any) {
	p.add(doctor.Finding{Check: check, Verdict: doctor.OK, Saw: fmt.Sprintf(format, args...)})
}

func (p *path) warn(check string, problem doctor.Problem, saw, advice string) {
	p.add(doctor.Finding{Check: check, Verdict: doctor.Warn, Problem: problem, Saw: saw,
		Advice: advice})
}

// fail adds the failure of a check. The advice of err, if it is a *transport.StepError, is the
// caller's to add; advice, if any, goes before it.
func (p *path) fail(check string, problem doctor.Problem, err error, advice string) {
	p.add(doctor.Finding{Check: check, Verdict: doctor.Fail, Problem: problem,
		Saw: plain(err).Error(), Advice: advice, Err: err})
}

// plain returns the cause of a *transport.StepError, whose own text begins with the step.
func plain(err error) error {
	var step *transport.StepError
	if errors.As(err, &step) {
		return step.Err
	}
	return err
}

// timedOut reports whether a step has ended because nothing came.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		os.IsTimeout(err)
}

// findProxy finds out which proxy is used.
func (p *path) findProxy() bool {
	var err error
	if p.proxy, err = p.Dialer.ProxyURL(); err != nil {
		p.fail(checkProxy, doctor.ProxyRefuses, err, "")
		return false
	}
	if p.proxy != nil {
		p.Dialer.Sent = p.Dialer.Sent.AndLogin(p.proxy.User)
	}
	return true
}

// proxySource returns who has named the proxy, for the middle of a sentence.
func (p *path) proxySource() string {
	if p.ProxyFrom == "" {
		return ""
	}
	return ", from " + p.ProxyFrom
}

// asked notes the name servers that a resolver asks.
type asked struct {
	mu      sync.Mutex
	servers []string
}

// recording returns a resolver that asks as r does, which may be nil, and notes whom.
func (a *asked) recording(r *net.Resolver) *net.Resolver {
	ask := new(net.Dialer).DialContext
	if r != nil && r.Dial != nil {
		ask = r.Dial
	}
	return &net.Resolver{PreferGo: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := ask(ctx, network, address)
			if err == nil {
				a.note(conn.RemoteAddr().String())
			}
			return conn, err
		}}
}

func (a *asked) note(address string) {
	if to, err := netip.ParseAddrPort(address); err == nil && to.Port() == 53 {
		address = to.Addr().Unmap().String()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.servers {
		if s == address {
			return
		}
	}
	a.servers = append(a.servers, address)
}

// all returns the name servers that were asked.
func (a *asked) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.servers...)
}

// connectAll connects to each address by TCP alone, at the same time.
func (p *path) connectAll(ctx context.Context, addrs []netip.AddrPort) bool {
	addrs = addrs[:min(len(addrs), mostAddresses)]
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	errs, took := make([]error, len(addrs)), make([]time.Duration, len(addrs))
	var group sync.WaitGroup
	for i, to := range addrs {
		group.Go(func() {
			began := time.Now()
			errs[i] = p.Dialer.Reach(ctx, to)
			took[i] = time.Since(began)
		})
	}
	group.Wait()
	reached := false
	for _, err := range errs {
		reached = reached || err == nil
	}
	for i, to := range addrs {
		switch problem := tcpProblem(errs[i]); {
		case errs[i] == nil:
			p.ok(checkTCP, "%s answers in %s", to, milliseconds(took[i]))
		case reached && problem == doctor.NoRoute: // a machine without IPv6, for instance
			p.ok(checkTCP, "%s: this machine has no route there, and another address answers", to)
		case reached:
			p.warn(checkTCP, problem, plain(errs[i]).Error(),
				"another address answers, and each connection may lose a quarter of a second with this one")
		case p.proxy != nil:
			p.fail(checkProxy, doctor.ProxyRefuses, &transport.StepError{Step: transport.StepProxy,
				Err:    fmt.Errorf("proxy %s%s: %w", p.proxy.Host, p.proxySource(), plain(errs[i])),
				Reason: transport.ReasonProxy}, "")
		case problem == doctor.NoRoute: // the server has no part in it
			p.add(doctor.Finding{Check: checkTCP, Verdict: doctor.Fail, Problem: problem,
				Saw: plain(errs[i]).Error(), Advice: "check this machine's network and its firewall: " +
					"`ip route get " + to.Addr().String() + "`"})
		default:
			p.fail(checkTCP, problem, errs[i], "")
		}
	}
	return reached
}

// tcpProblem returns what is wrong with a TCP connection that was not made.
func tcpProblem(err error) doctor.Problem {
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return doctor.PortClosed
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH),
		errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return doctor.NoRoute
	}
	return doctor.NoAnswer
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// connect makes a connection that is ready for the request.
func connect(ctx context.Context, d *dial.Dialer, within time.Duration) (*tcp.Conn, dial.Path,
	error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return d.Connect(ctx)
}
