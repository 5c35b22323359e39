package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"tunnel/defect"
	"tunnel/dns/plain"
)

// ACMEProtocol is the ALPN protocol of the TLS handshake by which an authority verifies who
// controls a domain (TLS-ALPN-01, RFC 8737).
const ACMEProtocol = acme.ALPNProto

const (
	// acmeWait is how long a handshake waits for the first certificate; less than clients wait.
	acmeWait = 8 * time.Second
	// acmeWaiting is how many handshakes may wait for it: each may hold a thread.
	acmeWaiting   = 64
	acmeRetry     = 65 * time.Second // doubles up to acmeRetryMost
	acmeRetryMost = time.Hour
	acmeWatch     = time.Hour // between two checks of a certificate
	// acmeDial bounds a connection to the authority, and its TLS handshake.
	acmeDial = 30 * time.Second
)

// ACMEConfig configures an ACME. Domains, Dir and Log must be set.
type ACMEConfig struct {
	Domains []string // one certificate each; in ASCII and lower case
	// directory for the account and the certificates, made if it is missing
	Dir       string
	Email     string // for the authority's account; may be empty
	Directory string // URL of the authority; "" is Let's Encrypt
	// certificates that the authority's own HTTPS must chain to; nil for the system's
	Roots *x509.CertPool
	// looks up the authority, asked without EDNS(0); nil for the system's
	Resolver *net.Resolver
	Log      *slog.Logger
}

// ACME gets certificates from an authority (RFC 8555), and renews each when a third of its lifetime
// is left. The authority connects to port 443 of each domain, which must lead to this server.
type ACME struct {
	ACMEConfig
	client  *acme.Client
	cache   autocert.Cache
	manager atomic.Pointer[autocert.Manager]
	defects defect.Log
	ready   map[string]chan struct{} // by domain; closed when there is a certificate
	waiting chan struct{}            // has an element for each handshake that waits
}

// NewACME returns an ACME without certificates: Run gets them.
func NewACME(c ACMEConfig) *ACME {
	dialer := net.Dialer{Timeout: acmeDial,
		Resolver: plain.Resolver(cmp.Or(c.Resolver, net.DefaultResolver), 1)}
	client := &acme.Client{DirectoryURL: c.Directory, UserAgent: "tunnel"}
	client.HTTPClient = &http.Client{Transport: boundedAnswers{&http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: c.Roots,
			MinVersion: tls.VersionTLS12},
		DialContext: dialer.DialContext, TLSHandshakeTimeout: acmeDial,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxACMEHeader,
	}}}
	if c.Directory == "" {
		client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	a := &ACME{ACMEConfig: c, client: client, cache: autocert.DirCache(c.Dir),
		ready: map[string]chan struct{}{}, waiting: make(chan struct{}, acmeWaiting)}
	for _, d := range c.Domains {
		a.ready[d] = make(chan struct{})
	}
	a.begin()
	return a
}

// begin makes the manager, also in place of one whose state a panic has left inconsistent.
func (a *ACME) begin() {
	a.manager.Store(&autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: a.cache, Client: a.client, Email: a.Email,
		HostPolicy: autocert.HostWhitelist(a.Domains...),
	})
}

// errNoCertificate is the error of a handshake before there is a certificate.
var errNoCertificate = errors.New("there is no certificate from the ACME authority yet")

// GetCertificate is the tls.Config's hook of that name; ACMEProtocol must be among the NextProtos.
// A client that asks for no name, or for an unknown one, gets the first domain's certificate, whose
// name tells its user what is wrong. A handshake causes no request to the authority: otherwise
// anybody could use up its rate limit.
func (a *ACME) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if Challenges(hello) {
		return a.manager.Load().GetCertificate(hello)
	}
	domain := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	ready, ours := a.ready[domain]
	if !ours {
		domain = a.Domains[0]
		ready = a.ready[domain]
	}
	if !a.await(ready) {
		return nil, errNoCertificate
	}
	return a.get(domain)
}

// await reports whether ready is closed, and waits for that unless acmeWaiting handshakes do.
func (a *ACME) await(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
	}
	select {
	case a.waiting <- struct{}{}:
		defer func() { <-a.waiting }()
	default:
		return false
	}
	select {
	case <-ready:
		return true
	case <-time.After(acmeWait):
		return false
	}
}

// Challenges reports whether this is the handshake of an authority, or of anyone who acts as one.
func Challenges(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{ACMEProtocol})
}

// get returns the manager's certificate of a domain, always the one for an ECDSA key.
func (a *ACME) get(domain string) (*tls.Certificate, error) {
	return a.manager.Load().GetCertificate(&tls.ClientHelloInfo{
		ServerName: domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
}

// Run gets missing certificates, logs which ones are renewed and which are not, and returns when
// ctx ends. The server must be listening, because the authority connects to it.
func (a *ACME) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, d := range a.Domains {
		group.Go(func() { a.keep(ctx, d) })
	}
	group.Wait()
}

// keep is Run for one domain.
func (a *ACME) keep(ctx context.Context, domain string) {
	log := a.Log.With("domain", domain)
	wait := acmeRetry
	var known *x509.Certificate
	for {
		cert, err := a.patient(ctx, domain)
		switch {
		case ctx.Err() != nil:
			return
		case a.defects.Note(err, log):
		case err != nil:
			log.Warn("no certificate from the ACME authority: it must reach this server on port "+
				"443 of the domain",
				"err", err, "retry_in", wait)
		default:
			if known == nil {
				close(a.ready[domain])
			}
			a.report(log, known, cert.Leaf, time.Now())
			known = cert.Leaf
		}
		next := acmeWatch
		if known == nil {
			next, wait = wait, min(2*wait, acmeRetryMost)
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
	}
}

// patient is get, which may take minutes, but returns when ctx ends. get then ends with the
// process. A panic in it is a *defect.Error. autocert renews certificates on goroutines of its own,
// where nothing can catch one.
func (a *ACME) patient(ctx context.Context, domain string) (*tls.Certificate, error) {
	type result struct {
		cert *tls.Certificate
		err  error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		if err := defect.Do(func() { r.cert, r.err = a.get(domain) }); err != nil {
			a.begin()
			r = result{err: err}
		}
		done <- r
	}()
	select {
	case r := <-done:
		if r.err == nil && r.cert.Leaf == nil {
			return nil, fmt.Errorf("%w of %s", errNoCertificate, domain)
		}
		return r.cert, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// report logs a new certificate of a domain, or one that is overdue for renewal.
func (a *ACME) report(log *slog.Logger, before, now *x509.Certificate, at time.Time) {
	if before == nil || !before.Equal(now) {
		log.Info("certificate from the ACME authority", "until", now.NotAfter)
	}
	// Renewal begins when a third is left.
	if left := now.NotAfter.Sub(at); left < now.NotAfter.Sub(now.NotBefore)/4 {
		log.Warn("the certificate is not renewed: the ACME authority must be reachable, and reach "+
			"this server on port 443 of the domain",
			"until", now.NotAfter)
	}
}
