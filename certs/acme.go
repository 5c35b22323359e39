package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACMEProtocol is what an authority asks for in the TLS handshake that proves whose the name is
// (TLS-ALPN-01, RFC 8737).
const ACMEProtocol = acme.ALPNProto

const (
	// for the first certificate, within a handshake; less than clients wait
	acmeWait = 8 * time.Second
	// acmeWaiting is how many handshakes wait so at once: each may hold a thread.
	acmeWaiting   = 64
	acmeRetry     = 65 * time.Second
	acmeRetryMost = time.Hour
	acmeWatch     = time.Hour
)

// ACMEConfig says which certificates to get from whom. Domains, Dir and Log must be set.
type ACMEConfig struct {
	Domains []string // one certificate each; in ASCII and lower case
	// where the account and the certificates are kept, made if it is missing
	Dir       string
	Email     string // for the authority's account; may be empty
	Directory string // URL of the authority; "" is Let's Encrypt
	// whom the authority's own HTTPS must come from; nil for those that the system trusts
	Roots *x509.CertPool
	Log   *slog.Logger
}

// ACME gets certificates from an authority and renews them when a third of their time is left (RFC
// 8555). The authority connects to port 443 of each domain, which must lead here.
type ACME struct {
	ACMEConfig
	manager *autocert.Manager
	ready   map[string]chan struct{} // by domain; closed when there is a certificate
	waiting chan struct{}            // has an element for each handshake that waits
}

// NewACME returns an ACME that has nothing yet: call Run.
func NewACME(c ACMEConfig) *ACME {
	client := &acme.Client{DirectoryURL: c.Directory, UserAgent: "tunnel"}
	client.HTTPClient = &http.Client{Transport: boundedAnswers{&http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: c.Roots,
			MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxACMEHeader,
	}}}
	if c.Directory == "" {
		client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	a := &ACME{ACMEConfig: c, ready: map[string]chan struct{}{},
		waiting: make(chan struct{}, acmeWaiting), manager: &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(c.Dir),
			HostPolicy: autocert.HostWhitelist(c.Domains...),
			Email:      c.Email, Client: client,
		}}
	for _, d := range c.Domains {
		a.ready[d] = make(chan struct{})
	}
	return a
}

// errNoCertificate says what a handshake comes too early for.
var errNoCertificate = errors.New("there is no certificate from the ACME authority yet")

// GetCertificate is the tls.Config's hook of that name; ACMEProtocol must be among the NextProtos.
// Who asks for no name, or for one that is none of ours, gets the first domain's, and sees there
// what is wrong. A handshake never makes us ask the authority, which would let anybody use up
// what it grants in a week.
func (a *ACME) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if Challenges(hello) {
		return a.manager.GetCertificate(hello)
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

// await waits until ready is closed, and reports whether it was. It does not wait if many do.
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

// Challenges reports whether this is the authority's handshake, or one that pretends to be.
func Challenges(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{ACMEProtocol})
}

// get asks the manager for the certificate of a domain, for an ECDSA key: one kind will do.
func (a *ACME) get(domain string) (*tls.Certificate, error) {
	return a.manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName: domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
}

// Run gets what is missing, says in the log what is renewed and what is not, and returns when ctx
// ends. The server must be listening: the authority asks back.
func (a *ACME) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, d := range a.Domains {
		group.Go(func() { a.keep(ctx, d) })
	}
	group.Wait()
}

// keep does what Run does for one domain.
func (a *ACME) keep(ctx context.Context, domain string) {
	log := a.Log.With("domain", domain)
	wait := acmeRetry
	var known *x509.Certificate
	for {
		cert, err := a.patient(ctx, domain)
		switch {
		case ctx.Err() != nil:
			return
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

// patient is get, which may take minutes, until ctx ends. What goes on behind it then ends with the
// process.
func (a *ACME) patient(ctx context.Context, domain string) (*tls.Certificate, error) {
	type result struct {
		cert *tls.Certificate
		err  error
	}
	done := make(chan result, 1)
	go func() {
		cert, err := a.get(domain)
		done <- result{cert, err}
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

// report says what has become of a domain's certificate.
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
