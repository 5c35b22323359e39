package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/tcp"
)

// secure connects through the proxy, if there is one, and makes the TLS handshake. It returns nil
// if that fails.
func (p *path) secure(ctx context.Context) *tcp.Conn {
	d := p.Dialer
	d.TLS = p.observed(d.TLS)
	began := time.Now()
	conn, via, err := connect(ctx, &d, stepTime)
	if p.proxy != nil {
		p.judgeProxy(via, err)
	}
	var step *transport.StepError
	switch {
	case errors.As(err, &step) && step.Step == transport.StepProxy && p.proxy != nil:
		return nil
	case err != nil && d.URL.Scheme == "ws":
		p.fail(checkTCP, tcpProblem(err), err, "")
		return nil
	case err != nil:
		p.failTLS(ctx, err)
		return nil
	}
	if d.URL.Scheme == "ws" {
		p.judgePlain(conn)
		return conn
	}
	p.judgeTLS(conn, time.Since(began))
	return conn
}

// judgeProxy reports what the proxy did.
func (p *path) judgeProxy(via dial.Path, err error) {
	name := via.Proxy() + p.proxySource()
	var step *transport.StepError
	if errors.As(err, &step) && step.Step == transport.StepProxy {
		p.add(doctor.Finding{Check: checkProxy, Verdict: doctor.Fail, Problem: doctor.ProxyRefuses,
			Saw: fmt.Sprintf("%s: %v", name, step.Err), Err: err})
		return
	}
	p.ok(checkProxy, "%s, connects to %s", name, transport.PeerTarget(p.Dialer.URL))
}

// judgePlain warns of a connection without TLS beyond this machine.
func (p *path) judgePlain(conn *tcp.Conn) {
	if p.Dialer.Clear(conn.Remote()) {
		p.warn(checkTLS, doctor.NotEncrypted, "none: everybody on the path reads the token and all "+
			"packets", "use wss://")
		return
	}
	p.ok(checkTLS, "none, on this machine")
}

// observed returns a configuration that checks what config does, nil being the default, and also
// keeps what the server has shown if that fails.
func (p *path) observed(config *tls.Config) *tls.Config {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	verify, unchecked, roots := config.VerifyConnection, config.InsecureSkipVerify, config.RootCAs
	name := transport.PeerHost(p.Dialer.URL)
	config.InsecureSkipVerify = true // VerifyConnection does it
	config.VerifyConnection = func(state tls.ConnectionState) error {
		p.seen = &state
		if !unchecked {
			if err := verifyChain(state, roots, name, time.Now()); err != nil {
				return err
			}
		}
		if verify != nil {
			return verify(state)
		}
		return nil
	}
	return config
}

// verifyChain checks certificates as crypto/tls does for a client, by another clock. An error of
// theirs is a *tls.CertificateVerificationError.
func verifyChain(state tls.ConnectionState, roots *x509.CertPool, name string,
	now time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has shown no certificate")
	}
	others := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		others.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots,
		Intermediates: others, DNSName: name, CurrentTime: now})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates,
			Err: err}
	}
	return nil
}

// judgeTLS reports a handshake that has succeeded.
func (p *path) judgeTLS(conn *tcp.Conn, took time.Duration) {
	version, exchange := conn.TLS()
	cert := p.leaf()
	saw := fmt.Sprintf("TLS %s, %s, SNI %s, in %s; %s", version, exchange,
		sni(p.Dialer.URL.Hostname()), milliseconds(took), p.certificate())
	pinned := p.Dialer.TLS != nil && p.Dialer.TLS.VerifyConnection != nil
	switch {
	case cert == nil:
	case !pinned && interceptor(cert) != "":
		p.warn(checkTLS, doctor.TLSIntercepted, saw+": "+interceptor(cert)+" reads what is inside TLS",
			"have its administrator exempt the server, or accept that it reads the token and all "+
				"packets")
		return
	case !pinned && endsSoon(cert, time.Now()):
		p.warn(checkTLS, doctor.CertificateEnds, saw, "renew the server's certificate")
		return
	}
	p.ok(checkTLS, "%s", saw)
}

func sni(host string) string {
	if strings.Contains(host, ":") || strings.Trim(host, "0123456789.") == "" {
		return "none" // RFC 6066 section 3: no address
	}
	return transport.ASCIIHost(host)
}

// endsSoon reports whether less than a tenth of a certificate's life is left: who renews it does so
// earlier.
func endsSoon(cert *x509.Certificate, now time.Time) bool {
	return cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)/10
}

// leaf returns the server's own certificate, nil if it has shown none.
func (p *path) leaf() *x509.Certificate {
	if p.seen == nil || len(p.seen.PeerCertificates) == 0 {
		return nil
	}
	return p.seen.PeerCertificates[0]
}

// certificate describes the certificate that the server has shown.
func (p *path) certificate() string {
	cert := p.leaf()
	if cert == nil {
		return "no certificate was shown"
	}
	const most = 3
	names := append([]string(nil), cert.DNSNames...)
	for _, a := range cert.IPAddresses {
		names = append(names, a.String())
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	by := "issued by " + issuer(cert)
	if cert.Subject.String() == cert.Issuer.String() {
		by = "issued by itself"
	}
	return fmt.Sprintf("its certificate is for %s, %s, valid from %s to %s",
		strings.Join(names, ", "), by, day(cert.NotBefore), day(cert.NotAfter))
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// issuer names who has signed a certificate.
func issuer(cert *x509.Certificate) string {
	name := cert.Issuer.CommonName
	if len(cert.Issuer.Organization) > 0 && cert.Issuer.Organization[0] != name {
		name = strings.TrimSpace(name + " of " + cert.Issuer.Organization[0])
	}
	if name == "" {
		name = cert.Issuer.String()
	}
	return name
}

// interceptor returns the product that has signed a certificate in the place of the server's, ""
// for none that is known.
func interceptor(cert *x509.Certificate) string {
	text := strings.ToLower(cert.Issuer.String())
	for _, product := range []string{"Zscaler", "Fortinet", "FortiGate", "Sophos", "Palo Alto",
		"Blue Coat", "Symantec Web", "Netskope", "Cisco Umbrella", "Check Point", "Barracuda",
		"WatchGuard", "SonicWall", "Untangle", "Forcepoint", "Kaspersky", "Bitdefender", "Avast",
		"AVG Web", "ESET SSL", "Dr.Web", "mitmproxy", "Charles Proxy", "Fiddler", "Burp", "Squid"} {
		if strings.Contains(text, strings.ToLower(product)) {
			return product
		}
	}
	return ""
}

// failTLS reports a handshake that has failed.
func (p *path) failTLS(ctx context.Context, err error) {
	if cert := p.leaf(); cert != nil && expired(err) {
		if err = p.judgeDates(ctx, err, cert); err == nil {
			return
		}
	}
	var (
		step     *transport.StepError
		reason   transport.Reason
		cert     = p.leaf()
		silence  = fmt.Sprintf("no answer to the TLS handshake in %v", stepTime)
		describe = func(err error) error { return fmt.Errorf("%w; %s", plain(err), p.certificate()) }
	)
	if errors.As(err, &step) {
		reason = step.Reason
	}
	with := func(problem doctor.Problem, advice string) {
		p.add(doctor.Finding{Check: checkTLS, Verdict: doctor.Fail, Problem: problem,
			Saw: describe(err).Error(), Advice: advice, Err: err})
	}
	const between = "something between this machine and the server ends TLS: its administrator, or " +
		"another network, can help"
	switch {
	case reason == transport.ReasonPin:
		with(doctor.TLSIntercepted, between+"; or")
	case reason == transport.ReasonAuthority && cert != nil && (interceptor(cert) != "" ||
		cert.Subject.String() != cert.Issuer.String() && isPublicName(p.Dialer.URL.Hostname())):
		with(doctor.TLSIntercepted, between+"; or, if the server has an authority of its own,")
	case reason == transport.ReasonAuthority:
		with(doctor.UnknownAuthority, "")
	case reason == transport.ReasonHostname:
		with(doctor.CertificateName, "")
	case timedOut(err) && p.findHole(ctx, checkTLS, silence):
	case timedOut(err):
		p.fail(checkTLS, doctor.NoAnswer, errors.New(silence), "TCP answers, and TLS does not: a "+
			"firewall may drop it by what it reads (the server's name), or the server hang")
	default:
		p.fail(checkTLS, doctor.TLSFails, err, "")
	}
}
