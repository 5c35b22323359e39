package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"tunnel/auth"
)

// serverTLS is the server's side of TLS, as the flags describe it. Exactly one of plain, files and domains is set, or
// none, for a key of the server's own.
type serverTLS struct {
	plain     bool
	files     *auth.Files
	domains   []string
	clientCA  *auth.Authorities // nil demands no certificate of clients
	acmeCA    *x509.CertPool
	email     string
	directory string
	host      string // how clients reach this server, as far as it is known
	port      string // of --public; "" is the one that the server listens on
	log       *slog.Logger

	pin  string     // of the server's own key, once open was called
	acme *auth.ACME // the same
}

// newServerTLS reads the files that the configuration names; the state is not touched.
func newServerTLS(i *invocation, log *slog.Logger) (*serverTLS, error) {
	told := i.serve
	s := &serverTLS{
		plain: told.Plain, domains: told.ACME, email: told.ACMEEmail, directory: told.ACMEDirectory, log: log,
		host: told.Public.Host, port: told.Public.Port,
	}
	var err error
	if told.ClientCA != "" {
		open := func(string) (*os.File, error) { return i.openInput(flagClientCA) }
		if s.clientCA, err = auth.OpenAuthorities(told.ClientCA, open, log); err != nil {
			return nil, usage("--%s: %w", flagClientCA, err)
		}
	}
	if s.acmeCA, err = i.certPool(flagACMECA); err != nil {
		return nil, err
	}
	if told.TLSCert != "" {
		if s.files, err = i.openPair(log); err != nil {
			return nil, err
		}
	}
	if s.host == "" {
		s.host = s.guessHost(told.Listen)
	}
	return s, nil
}

// open returns the configuration of TLS, nil for none. What the server makes or gets for itself is kept in dir, the state
// directory, which no other process may have.
func (s *serverTLS) open(dir string) (*tls.Config, error) {
	if s.plain {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch {
	case s.files != nil:
		config.GetCertificate = s.files.GetCertificate
	case len(s.domains) > 0:
		s.acme = auth.NewACME(auth.ACMEConfig{
			Domains: s.domains, Dir: filepath.Join(dir, acmeDir), Email: s.email, Directory: s.directory, Roots: s.acmeCA, Log: s.log,
		})
		config.GetCertificate = s.acme.GetCertificate
		config.NextProtos = append(config.NextProtos, auth.ACMEProtocol)
	default:
		identity, err := auth.OpenIdentity(dir, s.host)
		switch {
		case errors.Is(err, auth.ErrIdentity):
			return nil, fail(stepState, err, "restore it from a backup, or delete it and give every client the new --pin")
		case err != nil:
			return nil, fail(stepState, err, "check the disk and who may write there, or give another --state DIR")
		}
		s.pin = identity.Pin().String()
		if identity.New {
			s.log.Info("made a key of its own: clients know the server by its pin", "dir", dir, "pin", s.pin)
		}
		config.Certificates = []tls.Certificate{identity.Certificate}
	}
	if s.clientCA != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, s.clientCA.Pool()
		config.SessionTicketsDisabled = true // a ticket would outlive its authority
	}
	if s.acme != nil || s.clientCA != nil {
		config.GetConfigForClient = s.forClient(config)
	}
	return config, nil
}

// forClient is a tls.Config's GetConfigForClient: the client authorities are those of now, and the ACME
// authority needs no certificate.
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

// challengeOnly is a tls.Config's GetConfigForClient: the ACME authority has no client certificate, and wants to see ours
// and nothing else. So its handshake ends when it has seen that; whoever does as if gets no further.
func challengeOnly(config *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	challenge := config.Clone()
	challenge.ClientAuth, challenge.ClientCAs = tls.NoClientCert, nil
	challenge.SessionTicketsDisabled = true
	challenge.VerifyConnection = func(tls.ConnectionState) error { return errors.New("an ACME challenge, and no more") }
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if auth.Challenges(hello) {
			return challenge, nil
		}
		return nil, nil
	}
}

// keep gets and renews certificates while the server runs; the function that it returns ends that.
func (s *serverTLS) keep(ctx context.Context) (stop func()) {
	if s.acme == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.acme.Run(ctx) })
	return func() { cancel(); group.Wait() }
}

// The flags of files about certificates.
const (
	flagTLSCert  = "tls-cert"
	flagTLSKey   = "tls-key"
	flagClientCA = "client-ca"
	flagACMECA   = "acme-ca"
	flagCA       = "ca"
)

// certPool reads the certificates of a flag's file; nil if the flag was not given.
func (i *invocation) certPool(flag string) (*x509.CertPool, error) {
	name := i.input(flag)
	if name == "" {
		return nil, nil
	}
	pem, err := i.readInput(flag)
	if err != nil {
		return nil, usage("--%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usage("--%s %s has no certificate in PEM", flag, name)
	}
	return pool, nil
}

// openPair opens the files of --tls-cert and --tls-key.
func (i *invocation) openPair(log *slog.Logger) (*auth.Files, error) {
	cert, key := i.input(flagTLSCert), i.input(flagTLSKey)
	files, err := auth.OpenFiles(cert, key, func(name string) (*os.File, error) {
		if name == cert {
			return i.openInput(flagTLSCert)
		}
		return i.openInput(flagTLSKey)
	}, log)
	if err != nil {
		return nil, usage("--tls-cert %s, --tls-key %s: %w", cert, key, err)
	}
	return files, nil
}
