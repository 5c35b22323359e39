package e2e

import "testing"

// A server listens on addresses that its machine gets only later, and then admits clients on them.
func TestFreebind(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	for address, add := range map[string][]string{
		"198.51.100.9":    {"ip", "addr", "add", "198.51.100.9/24", "dev", "eth0"},
		"[2001:db8:9::9]": {"ip", "addr", "add", "2001:db8:9::9/64", "dev", "eth0", "nodad"},
	} {
		failure{
			name: "without the flag", code: 12, step: "listen",
			says: "give --freebind if the address comes later",
			args: []string{"serve", "--plain", "--token", token, "--state", t.TempDir(), "--listen",
				address + ":8443"},
		}.check(t, server, bin)
		srv := bin.serve(t, server, "--plain", "--freebind", "--listen", address+":8443")
		server.Run(add...)
		// The second time the address exists already.
		client.Try("ip", "addr", "add", "2001:db8:9::2/64", "dev", "eth0", "nodad")
		cl := bin.connect(t, client, "ws://"+address+":8443")
		reaches(t, client, "10.1.1.1")
		stop(t, cl)
		stop(t, srv)
	}
}
