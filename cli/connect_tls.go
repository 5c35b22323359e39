package cli

import (
	"crypto/tls"
	"log/slog"
)

// clientTLS returns the client's side of TLS; nil where no server has any. Without authorities of its own it trusts what the
// system trusts.
func clientTLS(i *invocation, log *slog.Logger) (*tls.Config, error) {
	told := i.connect
	if secured(told.URLs).Scheme != "wss" {
		return nil, nil
	}
	roots, err := i.certPool(flagCA)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(told.Pin) > 0 {
		config.VerifyConnection = told.Pin.Verify
		// The key is what a chain of certificates would vouch for. With --ca both are checked.
		config.InsecureSkipVerify = roots == nil
	}
	if told.TLSCert != "" {
		files, err := i.openPair(log)
		if err != nil {
			return nil, err
		}
		config.GetClientCertificate = files.GetClientCertificate
	}
	return config, nil
}
