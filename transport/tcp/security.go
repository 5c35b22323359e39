package tcp

import (
	"context"
	"crypto/tls"
	"strings"
)

// RequestTLS returns the state of the TLS connection under a request of an http.Server that has
// ConnContext; nil without TLS.
func RequestTLS(ctx context.Context) *tls.ConnectionState {
	w := FromContext(ctx)
	if w == nil {
		return nil
	}
	return w.Security()
}

// Security returns the state of TLS after its handshake; nil without TLS.
func (w *Conn) Security() *tls.ConnectionState {
	secured, ok := w.Conn.(*tls.Conn)
	if !ok || w.under == nil { // the TLS, if any, is that with a proxy
		return nil
	}
	state := secured.ConnectionState()
	return &state
}

// TLS returns the version of TLS, such as "1.3", and the group of its key exchange, as crypto/tls
// names it, as far as the next machine that ends it; "none" for what there is not.
func (w *Conn) TLS() (version, exchange string) {
	state := w.Security()
	if state == nil {
		return "none", "none"
	}
	exchange = "none" // TLS 1.2 has none when it resumes a session
	if state.CurveID != 0 {
		exchange = state.CurveID.String()
	}
	return strings.TrimPrefix(tls.VersionName(state.Version), "TLS "), exchange
}
