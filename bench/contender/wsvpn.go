package contender

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tunnel/bench/scope"
)

// wsvpnModule is another VPN over WebSocket in Go.
const wsvpnModule = "github.com/Doridian/wsvpn/wsvpn@latest"

// wsvpn is wsvpn at both ends with its defaults, such as MTU 1420.
type wsvpn struct {
	secure   bool
	prebuilt string // file of a program to use; empty to build one
	program  string
}

func (c *wsvpn) Name() string {
	if c.secure {
		return NameWSVPNWSS
	}
	return NameWSVPNWS
}

func (c *wsvpn) Prepare(ctx context.Context, shop *Workshop) (version string, err error) {
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

func (c *wsvpn) Start(t *scope.Scope, shop *Workshop, p Pair) Ends {
	const network, server, client, port = "192.168.3.0/24", "192.168.3.1", "192.168.3.2", "9000"
	scheme, serverTLS, clientTLS := "ws", "", ""
	if c.secure {
		scheme = "wss"
		serverTLS = fmt.Sprintf("  tls:\n    certificate: %q\n    key: %q\n", shop.File(serverCert),
			shop.File(serverKey))
		clientTLS = fmt.Sprintf("  tls:\n    ca: %q\n", shop.File(CACert))
	}
	dir := shop.Temp(t)
	serverYML, clientYML := filepath.Join(dir, "server.yml"), filepath.Join(dir, "client.yml")
	t.Must(os.WriteFile(serverYML,
		fmt.Appendf(nil, "tunnel:\n  subnet: %s\nserver:\n  listen: %s:%s\n%s",
			network, ServerAddr, port, serverTLS), 0o600))
	t.Must(os.WriteFile(clientYML,
		fmt.Appendf(nil, "client:\n  server: %s://%s:%s\n  auto-reconnect-delay: 1s\n%s",
			scheme, ServerAddr, port, clientTLS), 0o600))
	s := p.Server.Start(c.program, "--mode", "server", "--config", serverYML)
	t.Cleanup(func() { Stop(s) })
	awaitPort(t, p.Server, port)
	k := p.Client.Start(c.program, "--mode", "client", "--config", clientYML)
	t.Cleanup(func() { Stop(k) })
	AwaitPing(t, p.Client, server)
	return Ends{Server: server, client: client}
}
