package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"tunnel/certs"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/page"
	"tunnel/cli/statedir"
)

// serverTLS is the server's side of TLS, from the flags. At most one of plain, files and domains is
// set; none is for a key of the server's own.
type serverTLS struct {
	plain     bool
	files     *certs.Files
	domains   []string
	clientCA  *certs.Authorities // nil demands no client certificate
	acmeCA    *x509.CertPool
	email     string
	directory string
	host      string // how clients reach this server, "" if unknown
	port      string // of --public; "" is the port of --listen
	log       *slog.Logger

	pin  string      // of the server's own key; set by open
	acme *certs.ACME // set by open
}

// newServerTLS reads the files that the configuration names. It does not touch the state.
func newServerTLS(i *invocation.Invocation, log *slog.Logger) (*serverTLS, error) {
	told := i.Serve
	s := &serverTLS{
		plain: told.Plain, domains: told.ACME, email: told.ACMEEmail, directory: told.ACMEDirectory,
		log:  log,
		host: told.Public.Host, port: told.Public.Port,
	}
	var err error
	if told.ClientCA != "" {
		open := func(string) (*os.File, error) { return i.OpenInput(invocation.FlagClientCA) }
		if s.clientCA, err = certs.OpenAuthorities(told.ClientCA, open, log); err != nil {
			return nil, failure.Usage("--%s: %w", invocation.FlagClientCA, err)
		}
	}
	if s.acmeCA, err = i.CertPool(invocation.FlagACMECA); err != nil {
		return nil, err
	}
	if told.TLSCert != "" {
		if s.files, err = i.OpenPair(log); err != nil {
			return nil, err
		}
	}
	if s.host == "" {
		s.host = s.guessHost(told.Listen)
	}
	return s, nil
}

// open returns the TLS configuration, nil for none. The server's own keys and certificates are in
// dir, the state directory, which no other process may use.
func (s *serverTLS) open(dir string) (*tls.Config, error) {
	if s.plain {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch {
	case s.files != nil:
		config.GetCertificate = s.files.GetCertificate
	case len(s.domains) > 0:
		s.acme = certs.NewACME(certs.ACMEConfig{
			Domains: s.domains, Dir: filepath.Join(dir, statedir.ACMEDir), Email: s.email,
			Directory: s.directory, Roots: s.acmeCA, Log: s.log,
		})
		config.GetCertificate = s.acme.GetCertificate
		config.NextProtos = append(config.NextProtos, certs.ACMEProtocol)
	default:
		identity, err := certs.OpenIdentity(dir, s.host)
		switch {
		case errors.Is(err, certs.ErrIdentity):
			return nil, failure.New(failure.StepState, err,
				"restore it from a backup, or delete it and give every client the new --pin")
		case err != nil:
			return nil, failure.New(failure.StepState, err,
				"check the disk and who may write there, or give another --state DIR")
		}
		s.pin = identity.Pin().String()
		if identity.New {
			s.log.Info("created the server's own key: clients identify the server by its pin",
				"dir", dir, "pin", s.pin)
		}
		config.Certificates = []tls.Certificate{identity.Certificate}
	}
	if s.clientCA != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, s.clientCA.Pool()
		config.SessionTicketsDisabled = true // a ticket would remain valid without its authority
	}
	if s.acme != nil || s.clientCA != nil {
		config.GetConfigForClient = s.forClient(config)
	}
	return config, nil
}

// forClient returns a tls.Config's GetConfigForClient: it uses the present client authorities, and
// exempts the ACME authority from a client certificate.
func (s *serverTLS) forClient(config *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	challenge := func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
	if s.acme != nil {
		challenge = challengeOnly(config)
	}
	var mu sync.Mutex
	current := config
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c, err := challenge(hello); c != nil || err != nil || s.clientCA == nil {
			return c, err
		}
		pool := s.clientCA.Pool()
		mu.Lock()
		defer mu.Unlock()
		if current.ClientCAs != pool {
			current = config.Clone()
			current.ClientCAs = pool
		}
		return current, nil
	}
}

// identity returns how browsers know a server with that configuration of TLS, which open returned.
func (s *serverTLS) identity(config *tls.Config) page.Identity {
	i := page.Identity{TLS: config, Host: s.host, Domains: s.domains, ClientCA: s.clientCA != nil,
		Signed: s.files != nil || s.acme != nil}
	switch {
	case s.files != nil:
		i.Current = func() *x509.Certificate { return s.files.Current().Leaf }
	case config != nil && s.acme == nil:
		i.Current = func() *x509.Certificate { return config.Certificates[0].Leaf }
	}
	return i
}

// acmeElsewhere reports whether a server with --acme does not listen on port 443, to which the
// authority connects.
func acmeElsewhere(domains []string, listen net.Addr) bool {
	tcp, ok := listen.(*net.TCPAddr)
	return len(domains) > 0 && ok && tcp.Port != 443
}

// challengeOnly returns a tls.Config's GetConfigForClient for ACME challenges. The authority has no
// client certificate, and only needs to see the server's. So its handshake fails after that: a
// client that pretends to be the authority gets no further.
func challengeOnly(config *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	challenge := config.Clone()
	challenge.ClientAuth, challenge.ClientCAs = tls.NoClientCert, nil
	challenge.SessionTicketsDisabled = true
	challenge.VerifyConnection =
		func(tls.ConnectionState) error { return errors.New("ACME challenge only") }
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if certs.Challenges(hello) {
			return challenge, nil
		}
		return nil, nil
	}
}

// keep gets and renews certificates until the returned function is called.
func (s *serverTLS) keep(ctx context.Context) (stop func()) {
	if s.acme == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.acme.Run(ctx) })
	return func() { cancel(); group.Wait() }
}
