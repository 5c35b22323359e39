package connect

import (
	"fmt"
	"strings"
	"testing"

	"tunnel/transport"
)

// TestDownHidesToken has a server send the client's token back as its reason to close.
func TestDownHidesToken(t *testing.T) {
	secret := strings.Repeat("a", 52)
	var stdout strings.Builder
	newLines(&stdout, "tun0").down(fmt.Errorf("closed: %w", &transport.CloseError{
		Code: transport.CodeNormal, Reason: "bye, tnl_abcdefghij_" + secret + " of mine",
	}))
	const start, end = "down: closed: ", " of mine"
	if got := stdout.String(); strings.Contains(got, secret) || !strings.HasPrefix(got, start) ||
		!strings.Contains(got, "bye, tnl_…"+end) || !strings.HasSuffix(got, "\n") {
		t.Errorf("%q", got)
	}
}
