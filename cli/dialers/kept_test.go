package dialers

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/client/store"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

// A client reloads while its join token is being exchanged: the next session uses what it has got,
// not the join token, which is used up then.
func TestNext(t *testing.T) {
	secret := strings.Repeat("a", 52)
	join, credential := "tnl_abcdefghij_join_"+secret, "tnl_abcdefghij_"+secret
	const address = "wss://hub.example/ws"
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	credentials, err := store.OpenCredentials(filepath.Join(dir, "credential-tun0.json"))
	if err != nil {
		t.Fatal(err)
	}
	var next Next
	if all := next.Take(dir, "tun0", credentials); all != nil {
		t.Errorf("without a reload: %v", all)
	}
	next.Set([]*ws.Dialer{{Dialer: dial.Dialer{URL: at}, Token: "old"}})
	next.Set([]*ws.Dialer{{Dialer: dial.Dialer{URL: at}, Token: join}})
	if err := credentials.Keep(address, credential); err != nil {
		t.Fatal(err)
	}
	if all := next.Take(dir, "tun0", credentials); len(all) != 1 || all[0].Token != credential {
		t.Errorf("%d dialers; the next session does not use the credential", len(all))
	}
	if all := next.Take(dir, "tun0", credentials); all != nil {
		t.Errorf("the second time: %v", all)
	}
}
