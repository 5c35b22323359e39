package cli

import (
	"crypto/tls"
	"log/slog"
	"slices"

	"tunnel/config"
)

// clientTLS returns the client's side of TLS; nil where no server has any. Without authorities of its own it trusts what the
// system trusts.
func clientTLS(i *invocation, log *slog.Logger) (*tls.Config, error) {
	told := i.connect
	if !slices.ContainsFunc(told.Servers, func(s config.Server) bool { return s.URL.Scheme == "wss" }) {
		return nil, nil
	}
	roots, err := i.certPool(flagCA)
	if err != nil {
		return nil, err
	}
	tlsConfig := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(told.Pin) > 0 {
		tlsConfig.VerifyConnection = told.Pin.Verify
		// The key is what a chain of certificates would vouch for. With --ca both are checked.
		tlsConfig.InsecureSkipVerify = roots == nil
	}
	if told.TLSCert != "" {
		files, err := i.openPair(log)
		if err != nil {
			return nil, err
		}
		tlsConfig.GetClientCertificate = files.GetClientCertificate
	}
	return tlsConfig, nil
}
