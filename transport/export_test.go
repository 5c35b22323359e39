package transport

import "crypto/tls"

// TrustProxy has d trust a proxy with TLS by this config.
func TrustProxy(d *Dialer, config *tls.Config) { d.proxyTLS = config }

// ConnectAddr is connectAddr.
var ConnectAddr = connectAddr
