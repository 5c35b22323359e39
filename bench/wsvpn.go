package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// wsvpnModule is the closest peer: a VPN over WebSocket in Go.
const wsvpnModule = "github.com/Doridian/wsvpn/wsvpn@latest"

// wsvpn runs it at both ends with its defaults: MTU 1420, one client's address after the server's.
type wsvpn struct {
	secure   bool
	prebuilt string // path of a program to use; empty builds one
	program  string
}

func (c *wsvpn) name() string {
	if c.secure {
		return nameWSVPNWSS
	}
	return nameWSVPNWS
}

func (c *wsvpn) prepare(ctx context.Context, shop *workshop) (version string, err error) {
	if c.prebuilt != "" {
		c.program, err = filepath.Abs(c.prebuilt)
		if err == nil {
			_, err = os.Stat(c.program)
		}
		return "built elsewhere", err
	}
	if c.program, err = shop.install(ctx, wsvpnModule); err != nil {
		return "", err
	}
	out, err := shop.output(ctx, "go", "version", "-m", c.program)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "mod" {
			return f[2], err
		}
	}
	return "unknown", err
}

func (c *wsvpn) start(t *scope, shop *workshop, p pair) ends {
	const network, server, client, port = "192.168.3.0/24", "192.168.3.1", "192.168.3.2", "9000"
	scheme, serverTLS, clientTLS := "ws", "", ""
	if c.secure {
		scheme = "wss"
		serverTLS = fmt.Sprintf("  tls:\n    certificate: %q\n    key: %q\n", shop.file(serverCert), shop.file(serverKey))
		clientTLS = fmt.Sprintf("  tls:\n    ca: %q\n", shop.file(caCert))
	}
	dir := shop.temp(t)
	serverYML, clientYML := filepath.Join(dir, "server.yml"), filepath.Join(dir, "client.yml")
	t.must(os.WriteFile(serverYML, fmt.Appendf(nil, "tunnel:\n  subnet: %s\nserver:\n  listen: %s:%s\n%s",
		network, serverAddr, port, serverTLS), 0o600))
	t.must(os.WriteFile(clientYML, fmt.Appendf(nil, "client:\n  server: %s://%s:%s\n  auto-reconnect-delay: 1s\n%s",
		scheme, serverAddr, port, clientTLS), 0o600))
	s := p.server.Start(c.program, "--mode", "server", "--config", serverYML)
	t.Cleanup(func() { stop(s) })
	awaitPort(t, p.server, port)
	k := p.client.Start(c.program, "--mode", "client", "--config", clientYML)
	t.Cleanup(func() { stop(k) })
	awaitPing(t, p.client, server)
	return ends{server: server, client: client}
}
