package contender

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"tunnel/bench/scope"
)

// openvpn is OpenVPN in user space at both ends, with TLS certificates, AES-128-GCM, and otherwise
// its defaults.
type openvpn struct{ proto string } // udp or tcp

func (c *openvpn) Name() string { return "openvpn-" + c.proto }

func (c *openvpn) Prepare(ctx context.Context, shop *Workshop) (string, error) {
	if err := shop.need(ctx, "openvpn:openvpn"); err != nil {
		return "", err
	}
	// `openvpn --version` has different exit codes in different versions
	out, _ := shop.output(ctx, "dpkg-query", "-W", "-f", "${Version}", "openvpn")
	return strings.TrimSpace(out), nil
}

func (c *openvpn) Start(t *scope.Scope, shop *Workshop, p Pair) Ends {
	const dev, server = "ovpn0", "10.1.1.1"
	dir := shop.Temp(t)
	common := `
dev ` + dev + `
dev-type tun
disable-dco
ca ` + shop.File(CACert) + `
data-ciphers AES-128-GCM
keepalive 10 60
verb 3
`
	serverConf := common + `
proto ` + c.side("server") + `
local ` + ServerAddr + `
port 1194
server 10.1.1.0 255.255.255.0
topology subnet
dh none
cert ` + shop.File(serverCert) + `
key ` + shop.File(serverKey) + `
`
	if c.proto == "tcp" {
		serverConf += "tcp-nodelay\n" // the server pushes it to the client
	}
	clientConf := common + `
client
proto ` + c.side("client") + `
remote ` + ServerAddr + ` 1194
nobind
remote-cert-tls server
cert ` + shop.File(clientCert) + `
key ` + shop.File(clientKey) + `
`
	t.Must(os.WriteFile(filepath.Join(dir, "server.conf"), []byte(serverConf), 0o600))
	t.Must(os.WriteFile(filepath.Join(dir, "client.conf"), []byte(clientConf), 0o600))
	s := p.Server.Start("openvpn", "--config", filepath.Join(dir, "server.conf"))
	t.Cleanup(func() { Stop(s) })
	s.WaitFor("Initialization Sequence Completed", scope.Soon)
	k := p.Client.Start("openvpn", "--config", filepath.Join(dir, "client.conf"))
	t.Cleanup(func() { Stop(k) })
	k.WaitFor("Initialization Sequence Completed", scope.Soon)
	AwaitPing(t, p.Client, server)
	return Ends{Server: server, client: AddressOn(t, p.Client, dev), OuterUDP: c.proto == "udp"}
}

// side returns OpenVPN's name of the protocol at one end.
func (c *openvpn) side(end string) string {
	if c.proto == "tcp" {
		return "tcp-" + end
	}
	return c.proto
}
