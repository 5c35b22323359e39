package contender

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tunnel/bench/scope"
)

// openconnect is ocserv at the server and openconnect at the client, over TLS, or with DTLS for
// packets.
type openconnect struct{ dtls bool }

func (c *openconnect) Name() string {
	if c.dtls {
		return "openconnect-dtls"
	}
	return "openconnect-tls"
}

func (c *openconnect) Prepare(ctx context.Context, shop *Workshop) (string, error) {
	if err := shop.need(ctx, "ocserv:ocserv", "openconnect:openconnect"); err != nil {
		return "", err
	}
	out, err := shop.output(ctx, "dpkg-query", "-W", "-f", "${Package} ${Version}, ", "ocserv",
		"openconnect")
	return strings.TrimSuffix(out, ", "), err
}

// clientScript configures the client's device, in place of the distribution's script.
const clientScript = `#!/bin/sh
[ "$reason" = connect ] || exit 0
ip addr add "$INTERNAL_IP4_ADDRESS" peer 10.1.1.1 dev "$TUNDEV" &&
	ip link set dev "$TUNDEV" up mtu "$INTERNAL_IP4_MTU"
`

func (c *openconnect) Start(t *scope.Scope, shop *Workshop, p Pair) Ends {
	const dev, server, password = "occ0", "10.1.1.1", "bench"
	dir := shop.Temp(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	udp := ""
	if c.dtls {
		udp = "udp-port = 4443\n"
	}
	t.Must(os.WriteFile(file("script"), []byte(clientScript), 0o700))
	t.Must(os.WriteFile(file("ocserv.conf"), []byte(`
auth = "plain[passwd=`+file("passwd")+`]"
listen-host = `+ServerAddr+`
tcp-port = 4443
`+udp+`
run-as-user = root
run-as-group = root
socket-file = `+file("socket")+`
server-cert = `+shop.File(serverCert)+`
server-key = `+shop.File(serverKey)+`
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
	hash := p.Server.Command("ocpasswd", "-c", file("passwd"), "bench")
	hash.Stdin = strings.NewReader(password + "\n" + password + "\n")
	if out, stderr, code := p.Server.TryCommand(hash); code != 0 {
		t.Fatalf("ocpasswd: exit code %d: %s%s", code, out, stderr)
	}
	s := p.Server.Start("ocserv", "-f", "-c", file("ocserv.conf"))
	t.Cleanup(func() { Stop(s) })
	awaitPort(t, p.Server, "4443")
	argv := []string{"openconnect", "--protocol=anyconnect", "--user=bench", "--passwd-on-stdin",
		"--non-inter",
		"--cafile=" + shop.File(CACert), "--interface=" + dev, "--script=" + file("script")}
	if !c.dtls {
		argv = append(argv, "--no-dtls")
	}
	cmd := p.Client.Command(append(argv, fmt.Sprintf("https://%s:4443", ServerAddr))...)
	cmd.Stdin = strings.NewReader(password + "\n")
	k := p.Client.StartCommand(cmd)
	t.Cleanup(func() { Stop(k) })
	if c.dtls {
		k.WaitFor("Established DTLS connection", scope.Soon)
	}
	AwaitPing(t, p.Client, server)
	return Ends{Server: server, client: AddressOn(t, p.Client, dev), OuterUDP: c.dtls}
}
