package transport

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
)

// Security returns, for the log, what protects c between this machine and the next that ends TLS: tls, the
// version of TLS, and kex, the group of its key exchange as crypto/tls names it; or tls=none. What a proxy in
// front does to its client is not to be seen here.
func (c *Conn) Security() slog.Attr {
	state := c.wire.security()
	if state == nil {
		return slog.String("tls", "none")
	}
	kex := "none" // TLS 1.2 has none when it resumes a session
	if state.CurveID != 0 {
		kex = state.CurveID.String()
	}
	version := strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
	return slog.Group("", slog.String("tls", version), slog.String("kex", kex))
}

// RequestTLS returns what the TLS handshake has agreed on under a request of an http.Server that has
// ConnContext; nil without TLS.
func RequestTLS(ctx context.Context) *tls.ConnectionState {
	w, ok := ctx.Value(wireKey{}).(*wire)
	if !ok {
		return nil
	}
	return w.security()
}

// security returns what TLS has agreed on after its handshake; nil without TLS.
func (w *wire) security() *tls.ConnectionState {
	secured, ok := w.Conn.(*tls.Conn)
	if !ok || w.under == nil { // it is a proxy's
		return nil
	}
	state := secured.ConnectionState()
	return &state
}
