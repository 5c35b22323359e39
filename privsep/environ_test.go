package privsep

import (
	"slices"
	"testing"
)

// TestInherited separates what a worker needs from what the shell of root has.
func TestInherited(t *testing.T) {
	needed := []string{"TUNNEL_TOKEN=x", "HTTPS_PROXY=http://u:p@h", "no_proxy=a", "All_Proxy=b",
		"SSL_CERT_DIR=/d", "TZ=UTC", "GOMEMLIMIT=64MiB", "GODEBUG=netdns=go"}
	rest := []string{"AWS_SECRET_ACCESS_KEY=x", "FTP_PROXY=x", "PATH=/bin", "HOME=/root",
		"LD_PRELOAD=x", "MYTUNNEL_X=1", "GO=1", "=x", "x"}
	if got := inherited(append(slices.Clone(rest), needed...)); !slices.Equal(got, needed) {
		t.Errorf("inherits %q; want %q", got, needed)
	}
}
