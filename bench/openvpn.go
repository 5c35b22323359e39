package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// openvpn is OpenVPN in user space at both ends, TLS with certificates, AES-128-GCM, its defaults else.
type openvpn struct{ proto string } // udp or tcp

func (c *openvpn) name() string { return "openvpn-" + c.proto }

func (c *openvpn) prepare(ctx context.Context, shop *workshop) (string, error) {
	if err := shop.need(ctx, "openvpn:openvpn"); err != nil {
		return "", err
	}
	out, _ := shop.output(ctx, "dpkg-query", "-W", "-f", "${Version}", "openvpn") // what `openvpn --version` exits with has changed over time
	return strings.TrimSpace(out), nil
}

func (c *openvpn) start(t *scope, shop *workshop, p pair) ends {
	const dev, server = "ovpn0", "10.1.1.1"
	dir := shop.temp(t)
	common := `
dev ` + dev + `
dev-type tun
disable-dco
ca ` + shop.file(caCert) + `
data-ciphers AES-128-GCM
keepalive 10 60
verb 3
`
	serverConf := common + `
proto ` + c.side("server") + `
local ` + serverAddr + `
port 1194
server 10.1.1.0 255.255.255.0
topology subnet
dh none
cert ` + shop.file(serverCert) + `
key ` + shop.file(serverKey) + `
`
	if c.proto == "tcp" {
		serverConf += "tcp-nodelay\n" // told to the client as well
	}
	clientConf := common + `
client
proto ` + c.side("client") + `
remote ` + serverAddr + ` 1194
nobind
remote-cert-tls server
cert ` + shop.file(clientCert) + `
key ` + shop.file(clientKey) + `
`
	t.must(os.WriteFile(filepath.Join(dir, "server.conf"), []byte(serverConf), 0o600))
	t.must(os.WriteFile(filepath.Join(dir, "client.conf"), []byte(clientConf), 0o600))
	s := p.server.Start("openvpn", "--config", filepath.Join(dir, "server.conf"))
	t.Cleanup(func() { stop(s) })
	s.WaitFor("Initialization Sequence Completed", soon)
	k := p.client.Start("openvpn", "--config", filepath.Join(dir, "client.conf"))
	t.Cleanup(func() { stop(k) })
	k.WaitFor("Initialization Sequence Completed", soon)
	awaitPing(t, p.client, server)
	return ends{server: server, client: addressOn(t, p.client, dev), outerUDP: c.proto == "udp"}
}

// side is what OpenVPN calls the protocol at one end.
func (c *openvpn) side(end string) string {
	if c.proto == "tcp" {
		return "tcp-" + end
	}
	return c.proto
}
