package token

import (
	"strings"
	"testing"

	"tunnel/control"
)

// TestPrintJoin has no terminal: stderr may be a log, and gets no secret.
func TestPrintJoin(t *testing.T) {
	var b strings.Builder
	printJoin(&b, control.Join{}, "tnl_secret") // as behind a proxy without --public
	if b.Len() > 0 {
		t.Errorf("without a URL: %q", b.String())
	}
	printJoin(&b, control.Join{URL: "wss://hub.example:8443", Pin: "sha256:7a"}, "tnl_secret")
	const want = "to join, run on another machine:\n" +
		"tunnel connect wss://hub.example:8443 --pin sha256:7a --token-file FILE\n"
	if got := b.String(); got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
