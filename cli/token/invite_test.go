package token

import (
	"net/netip"
	"testing"

	"tunnel/control"
)

// An invitation has what the token is for: networks behind the machine are offered.
func TestInvitation(t *testing.T) {
	join := control.Join{URL: "wss://[2001:db8::1]:8443", Pin: "sha256:7a="}
	office := []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"),
		netip.MustParsePrefix("192.168.8.0/24")}
	for _, test := range []struct {
		behind []netip.Prefix
		file   bool
		want   string
	}{
		{nil, false,
			"tunnel connect 'wss://[2001:db8::1]:8443' --pin sha256:7a= --token tnl_secret\n"},
		{office, false, "tunnel connect 'wss://[2001:db8::1]:8443' --pin sha256:7a= --token tnl_secret " +
			"--advertise 192.168.7.0/24,192.168.8.0/24\n"},
		{nil, true, "# tunnel connect --config FILE\nurl: wss://[2001:db8::1]:8443\npin: sha256:7a=\n" +
			"token: tnl_secret\n"},
		{office[:1], true, "# tunnel connect --config FILE\nurl: wss://[2001:db8::1]:8443\n" +
			"pin: sha256:7a=\nadvertise: 192.168.7.0/24\ntoken: tnl_secret\n"},
	} {
		if got := invitation(join, "tnl_secret", test.behind, test.file); got != test.want {
			t.Errorf("%q; want %q", got, test.want)
		}
	}
}
