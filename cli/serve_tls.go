package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
)

const (
	flagPlain         = "plain"
	flagTLSCert       = "tls-cert"
	flagTLSKey        = "tls-key"
	flagClientCA      = "client-ca"
	flagPublic        = "public"
	flagACME          = "acme"
	flagACMEEmail     = "acme-email"
	flagACMEDirectory = "acme-directory"
	flagACMECA        = "acme-ca"
)

// serveTLSFlags returns the flags that say which certificate the server has.
func serveTLSFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: flagPlain, Category: categoryServer, EnvVars: env(flagPlain), Usage: "speak ws:// without TLS, for use behind a proxy that has it"},
		&cli.StringFlag{Name: flagTLSCert, Category: categoryServer, EnvVars: env(flagTLSCert), TakesFile: true, Usage: "`FILE` with the certificate chain, PEM; read again when it changes. Without it the server makes a key of its own"},
		&cli.StringFlag{Name: flagTLSKey, Category: categoryServer, EnvVars: env(flagTLSKey), TakesFile: true, Usage: "`FILE` with the certificate's key, PEM"},
		&cli.StringFlag{Name: flagClientCA, Category: categoryServer, EnvVars: env(flagClientCA), TakesFile: true, Usage: "demand a certificate of each client, from the authorities in `FILE`, PEM; read again when it changes"},
		&cli.StringFlag{Name: flagPublic, Category: categoryServer, EnvVars: env(flagPublic), Usage: "`HOST[:PORT]` under which clients reach this server, if it is not what this machine can see"},
		&cli.StringSliceFlag{Name: flagACME, Category: categoryServer, EnvVars: env(flagACME), Usage: "get the certificate for `DOMAIN` by ACME, agreeing to the authority's terms; may be given several times"},
		&cli.StringFlag{Name: flagACMEEmail, Category: categoryServer, EnvVars: env(flagACMEEmail), Usage: "`ADDRESS` for the ACME authority's mail"},
		&cli.StringFlag{Name: flagACMEDirectory, Category: categoryServer, EnvVars: env(flagACMEDirectory), Usage: "`URL` of the ACME authority, instead of Let's Encrypt"},
		&cli.StringFlag{Name: flagACMECA, Category: categoryServer, EnvVars: env(flagACMECA), TakesFile: true, Usage: "`FILE` with the certificates to trust when talking to the ACME authority, PEM"},
	}
}

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

// newServerTLS checks the flags and reads the files that they name; the state is not touched.
func newServerTLS(c *cli.Context, log *slog.Logger) (*serverTLS, error) {
	s := &serverTLS{
		plain: c.Bool(flagPlain), domains: words(c.StringSlice(flagACME)),
		email: c.String(flagACMEEmail), directory: c.String(flagACMEDirectory), log: log,
	}
	cert, key := c.String(flagTLSCert), c.String(flagTLSKey)
	given := cert != "" || key != ""
	switch {
	case s.plain && given:
		return nil, usage("--plain contradicts --tls-cert and --tls-key: leave one out")
	case s.plain && len(s.domains) > 0:
		return nil, usage("--plain contradicts --acme: leave one out")
	case s.plain && c.String(flagClientCA) != "":
		return nil, usage("--plain contradicts --client-ca: without TLS there are no certificates")
	case given && len(s.domains) > 0:
		return nil, usage("--acme contradicts --tls-cert and --tls-key: leave one out")
	case (cert == "") != (key == ""):
		return nil, usage("--tls-cert and --tls-key go together: give both")
	}
	var err error
	if file := c.String(flagClientCA); file != "" {
		open := func(string) (*os.File, error) { return openInput(c, flagClientCA) }
		if s.clientCA, err = auth.OpenAuthorities(file, open, log); err != nil {
			return nil, usage("--%s: %w", flagClientCA, err)
		}
	}
	if err := s.acmeUsage(c); err != nil {
		return nil, err
	}
	if given {
		if s.files, err = openPair(c, log); err != nil {
			return nil, usage("--tls-cert %s, --tls-key %s: %w", cert, key, err)
		}
	}
	if s.host, s.port, err = splitPublic(c.String(flagPublic)); err != nil {
		return nil, err
	}
	if s.host == "" {
		s.host = s.guessHost(c.String(flagListen))
	}
	return s, nil
}

// acmeUsage checks the flags of ACME.
func (s *serverTLS) acmeUsage(c *cli.Context) (err error) {
	for i, d := range s.domains {
		_, notName := netip.ParseAddr(d)
		if notName == nil || !strings.Contains(strings.Trim(d, "."), ".") || strings.ContainsFunc(d, notInName) {
			return usage("--acme %s is not a full name of DNS, in ASCII and without *", d)
		}
		s.domains[i] = strings.ToLower(strings.TrimSuffix(d, "."))
	}
	for _, f := range []string{flagACMEEmail, flagACMEDirectory, flagACMECA} {
		if c.String(f) != "" && len(s.domains) == 0 {
			return usage("--%s is for --acme DOMAIN: give that too", f)
		}
	}
	if u, err := url.Parse(s.directory); s.directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return usage("--acme-directory %s is not an https:// URL", s.directory)
	}
	s.acmeCA, err = certPool(c, flagACMECA)
	return err
}

// notInName tells which characters no name of a host has.
func notInName(r rune) bool {
	return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
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

// certPool reads the certificates of a flag's file; nil if the flag was not given.
func certPool(c *cli.Context, flag string) (*x509.CertPool, error) {
	file := c.String(flag)
	if file == "" {
		return nil, nil
	}
	pem, err := readInput(c, flag)
	if err != nil {
		return nil, usage("--%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usage("--%s %s has no certificate in PEM", flag, file)
	}
	return pool, nil
}

// openPair opens the files of --tls-cert and --tls-key.
func openPair(c *cli.Context, log *slog.Logger) (*auth.Files, error) {
	cert, key := c.String(flagTLSCert), c.String(flagTLSKey)
	return auth.OpenFiles(cert, key, func(name string) (*os.File, error) {
		if name == cert {
			return openInput(c, flagTLSCert)
		}
		return openInput(c, flagTLSKey)
	}, log)
}

// words splits what a flag that may be given several times got: its environment variable has them with commas between.
func words(values []string) []string {
	var all []string
	for _, v := range values {
		all = append(all, strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return all
}
