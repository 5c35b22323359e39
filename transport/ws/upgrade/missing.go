package upgrade

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"tunnel/transport"
)

// Missing returns the first header that r lacks for our WebSocket, or "HTTP/1.1" if its version of
// HTTP is older; "" if it lacks nothing.
func Missing(r *http.Request) string {
	switch {
	case !httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket"):
		return "Upgrade"
	case !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade"):
		return "Connection"
	case !Speaks(r):
		return "Sec-WebSocket-Protocol"
	case !slices.Equal(r.Header["Sec-Websocket-Version"], []string{"13"}):
		return "Sec-WebSocket-Version"
	case !hasKey(r):
		return "Sec-WebSocket-Key"
	case !r.ProtoAtLeast(1, 1):
		return "HTTP/1.1"
	}
	return ""
}

// Speaks reports whether r requests our subprotocol.
func Speaks(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Sec-Websocket-Protocol"],
		transport.Subprotocol)
}

// hasKey reports whether r has one valid WebSocket key: 16 bytes in base64 (RFC 6455 section 4.1).
func hasKey(r *http.Request) bool {
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0]))
	return err == nil && len(key) == 16
}

// SameOrigin reports whether r has no Origin header, as from other programs than browsers, or that
// of this host (RFC 6454 section 7).
func SameOrigin(r *http.Request) bool {
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	return true
}
