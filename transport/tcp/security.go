package tcp

import (
	"context"
	"crypto/tls"
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
