package tcp

import (
	"context"
	"crypto/tls"
)

// RequestTLS returns what the TLS handshake has agreed on under a request of an http.Server that
// has ConnContext; nil without TLS.
func RequestTLS(ctx context.Context) *tls.ConnectionState {
	w := FromContext(ctx)
	if w == nil {
		return nil
	}
	return w.Security()
}

// Security returns what TLS has agreed on after its handshake; nil without TLS.
func (w *Conn) Security() *tls.ConnectionState {
	secured, ok := w.Conn.(*tls.Conn)
	if !ok || w.under == nil { // it is a proxy's
		return nil
	}
	state := secured.ConnectionState()
	return &state
}
