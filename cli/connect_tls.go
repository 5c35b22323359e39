package cli

import (
	"crypto/tls"
	"net/url"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
)

const (
	flagCA  = "ca"
	flagPin = "pin"
)

// connectTLSFlags returns the flags that say whom the client trusts, and who it is.
func connectTLSFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: flagPin, Category: categoryServer, EnvVars: env(flagPin), Usage: "the server's key must be `sha256:HASH`, as the server prints it, and then whoever signed its certificate does not matter; may be given several times"},
		&cli.StringFlag{Name: flagCA, Category: categoryServer, EnvVars: env(flagCA), TakesFile: true, Usage: "`FILE` with the certificates to trust instead of the system's, PEM"},
		&cli.StringFlag{Name: flagTLSCert, Category: categoryServer, EnvVars: env(flagTLSCert), TakesFile: true, Usage: "`FILE` with this client's certificate chain, for a server with --client-ca, PEM; read again when it changes"},
		&cli.StringFlag{Name: flagTLSKey, Category: categoryServer, EnvVars: env(flagTLSKey), TakesFile: true, Usage: "`FILE` with its key, PEM"},
	}
}

// clientTLS returns the client's side of TLS; nil trusts what the system trusts.
func clientTLS(c *cli.Context, u *url.URL) (*tls.Config, error) {
	log, err := logger(c)
	if err != nil {
		return nil, err
	}
	pins, err := pins(c)
	if err != nil {
		return nil, err
	}
	cert, key := c.String(flagTLSCert), c.String(flagTLSKey)
	if u.Scheme != "wss" {
		if len(pins) > 0 {
			return nil, usage("--pin is for wss://, and the URL is %s", u)
		}
		for _, f := range []string{flagCA, flagTLSCert, flagTLSKey} {
			if c.String(f) != "" {
				return nil, usage("--%s is for wss://, and the URL is %s", f, u)
			}
		}
		return nil, nil
	}
	roots, err := certPool(c, flagCA)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(pins) > 0 {
		config.VerifyConnection = pins.Verify
		// The key is what a chain of certificates would vouch for. With --ca both are checked.
		config.InsecureSkipVerify = roots == nil
	}
	if (cert == "") != (key == "") {
		return nil, usage("--tls-cert and --tls-key go together: give both")
	}
	if cert != "" {
		files, err := openPair(c, log)
		if err != nil {
			return nil, usage("--tls-cert %s, --tls-key %s: %w", cert, key, err)
		}
		config.GetClientCertificate = files.GetClientCertificate
	}
	return config, nil
}

// pins returns the keys of which the server must have one; none is any.
func pins(c *cli.Context) (auth.Pins, error) {
	var all auth.Pins
	for _, text := range words(c.StringSlice(flagPin)) {
		p, err := auth.ParsePin(text)
		if err != nil {
			return nil, usage("--pin %w", err)
		}
		all = append(all, p)
	}
	if len(all) == 0 && c.IsSet(flagPin) {
		return nil, usage("--pin is empty: give the sha256:… that the server prints")
	}
	return all, nil
}
