package connect

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

// TestCredentialByOtherURL gives the join token that this machine has used with another URL of its
// server, and with another --dev.
func TestCredentialByOtherURL(t *testing.T) {
	secret := strings.Repeat("a", 52)
	join, credential := "tnl_abcdefghij_join_"+secret, "tnl_abcdefghij_"+secret
	other := "tnl_bbbbbbbbbb_join_" + secret
	dir := t.TempDir()
	err := os.WriteFile(filepath.Join(dir, "credential-tun0.json"),
		[]byte(`{"wss://hub.example/ws":"`+credential+`"}`), 0o600)
	if err == nil { // of another run, which is not this one's business
		err = os.WriteFile(filepath.Join(dir, "credential-tun7.json"), []byte("{"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ dev, url, token, want string }{
		{"tun0", "wss://hub.example/ws", join, credential},
		{"tun0", "wss://hub.example/ws", "", credential},
		{"tun0", "wss://192.0.2.1:8443/ws", join, credential},
		{"tun1", "wss://hub.example/ws", join, credential},
		// nothing without that token
		{"tun0", "wss://192.0.2.1:8443/ws", "", ""},
		{"tun0", "ws://192.0.2.1:8443/ws", join, join}, // not in clear
		{"tun1", "wss://hub.example/ws", "", ""},
		{"tun0", "wss://192.0.2.1:8443/ws", other, other},
		{"tun0", "wss://192.0.2.1:8443/ws", "0123456789abcdef", "0123456789abcdef"},
	} {
		at, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		d := &ws.Dialer{Dialer: dial.Dialer{URL: at}, Token: test.token}
		session, _, err := openKept(dir, test.dev, []*ws.Dialer{d}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		session.Close()
		if d.Token != test.want {
			t.Errorf("--dev %s, %s, token %q: it shows %q; want %q", test.dev, test.url, test.token,
				d.Token, test.want)
		}
	}
}
