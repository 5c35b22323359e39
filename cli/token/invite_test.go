package token

import (
	"testing"

	"tunnel/control"
)

func TestInvitation(t *testing.T) {
	join := control.Join{URL: "wss://[2001:db8::1]:8443", Pin: "sha256:7a="}
	for want, file := range map[string]bool{
		"tunnel connect 'wss://[2001:db8::1]:8443' --pin sha256:7a= --token tnl_secret\n": false,
		"# tunnel connect --config FILE\nurl: wss://[2001:db8::1]:8443\npin: sha256:7a=\n" +
			"token: tnl_secret\n": true,
	} {
		if got := invitation(join, "tnl_secret", file); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
