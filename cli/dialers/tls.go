package dialers

import (
	"crypto/tls"
	"log/slog"
	"slices"

	"tunnel/cli/invocation"
	"tunnel/config/location"
)

// clientTLS returns the client's side of TLS; nil if no server uses it. Without --ca it trusts the
// system's roots.
func clientTLS(i *invocation.Invocation, log *slog.Logger) (*tls.Config, error) {
	told := i.Connect
	if !slices.ContainsFunc(told.Servers,
		func(s location.Server) bool { return s.URL.Scheme == "wss" }) {
		return nil, nil
	}
	roots, err := i.CertPool(invocation.FlagCA)
	if err != nil {
		return nil, err
	}
	tlsConfig := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(told.Pin) > 0 {
		tlsConfig.VerifyConnection = told.Pin.Verify
		// The pin proves the key, so no chain of certificates is needed. With --ca both are
		// checked.
		tlsConfig.InsecureSkipVerify = roots == nil
	}
	if told.TLSCert != "" {
		files, err := i.OpenPair(log)
		if err != nil {
			return nil, err
		}
		tlsConfig.GetClientCertificate = files.GetClientCertificate
	}
	return tlsConfig, nil
}
