package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// openconnect is ocserv at the server, openconnect at the client: TLS, and DTLS for the packets if it is switched on.
type openconnect struct{ dtls bool }

func (c *openconnect) name() string {
	if c.dtls {
		return "openconnect-dtls"
	}
	return "openconnect-tls"
}

func (c *openconnect) prepare(ctx context.Context, shop *workshop) (string, error) {
	if err := shop.need(ctx, "ocserv:ocserv", "openconnect:openconnect"); err != nil {
		return "", err
	}
	out, err := shop.output(ctx, "dpkg-query", "-W", "-f", "${Package} ${Version}, ", "ocserv", "openconnect")
	return strings.TrimSuffix(out, ", "), err
}

// clientScript configures the client's device in the place of a distribution's own script.
const clientScript = `#!/bin/sh
[ "$reason" = connect ] || exit 0
ip addr add "$INTERNAL_IP4_ADDRESS" peer 10.1.1.1 dev "$TUNDEV" && ip link set dev "$TUNDEV" up mtu "$INTERNAL_IP4_MTU"
`

func (c *openconnect) start(t *scope, shop *workshop, p pair) ends {
	const dev, server, password = "occ0", "10.1.1.1", "bench"
	dir := shop.temp(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	udp := ""
	if c.dtls {
		udp = "udp-port = 4443\n"
	}
	t.must(os.WriteFile(file("script"), []byte(clientScript), 0o700))
	t.must(os.WriteFile(file("ocserv.conf"), []byte(`
auth = "plain[passwd=`+file("passwd")+`]"
listen-host = `+serverAddr+`
tcp-port = 4443
`+udp+`
run-as-user = root
run-as-group = root
socket-file = `+file("socket")+`
server-cert = `+shop.file(serverCert)+`
server-key = `+shop.file(serverKey)+`
isolate-workers = false
max-clients = 4
max-same-clients = 4
keepalive = 300
dpd = 90
mobile-dpd = 1800
try-mtu-discovery = false
compression = false
tls-priorities = "NORMAL:%SERVER_PRECEDENCE"
auth-timeout = 60
cookie-timeout = 300
rekey-time = 172800
use-occtl = false
pid-file = `+file("pid")+`
device = ocs
predictable-ips = true
ipv4-network = 10.1.1.0
ipv4-netmask = 255.255.255.0
cisco-client-compat = true
dtls-legacy = false
`), 0o600))
	hash := p.server.Command("ocpasswd", "-c", file("passwd"), "bench")
	hash.Stdin = strings.NewReader(password + "\n" + password + "\n")
	if out, stderr, code := p.server.TryCommand(hash); code != 0 {
		t.Fatalf("ocpasswd: exit code %d: %s%s", code, out, stderr)
	}
	s := p.server.Start("ocserv", "-f", "-c", file("ocserv.conf"))
	t.Cleanup(func() { stop(s) })
	awaitPort(t, p.server, "4443")
	argv := []string{"openconnect", "--protocol=anyconnect", "--user=bench", "--passwd-on-stdin", "--non-inter",
		"--cafile=" + shop.file(caCert), "--interface=" + dev, "--script=" + file("script")}
	if !c.dtls {
		argv = append(argv, "--no-dtls")
	}
	cmd := p.client.Command(append(argv, fmt.Sprintf("https://%s:4443", serverAddr))...)
	cmd.Stdin = strings.NewReader(password + "\n")
	k := p.client.StartCommand(cmd)
	t.Cleanup(func() { stop(k) })
	if c.dtls {
		k.WaitFor("Established DTLS connection", soon)
	}
	awaitPing(t, p.client, server)
	return ends{server: server, client: addressOn(t, p.client, dev), outerUDP: c.dtls}
}
