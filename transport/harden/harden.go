// Package harden sets the least that TLS offers and accepts.
package harden

import (
	"crypto/tls"
)

// TLS returns a copy of config, which may be nil on the client's side, restricted to TLS 1.3,
// and 1.2 with forward secrecy and authenticated encryption, and with full records from the start,
// because batches are large. Fields that config sets are kept.
func TLS(config *tls.Config) *tls.Config {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	if config.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS12
	}
	if config.CipherSuites == nil { // of TLS 1.2; all suites of 1.3 qualify
		config.CipherSuites = []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		}
	}
	config.DynamicRecordSizingDisabled = true
	return config
}
