package contender

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// wireguardModule is the module of wireguard-go.
const wireguardModule = "golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446"

// wireguard is wireguard-go at both ends, with its defaults: MTU 1420, UDP.
type wireguard struct{ program string }

func (*wireguard) Name() string { return NameWireguard }

func (c *wireguard) Prepare(ctx context.Context, shop *Workshop) (version string, err error) {
	if err := shop.need(ctx, "wg:wireguard-tools"); err != nil {
		return "", err
	}
	c.program, err = shop.install(ctx, wireguardModule)
	_, version, _ = strings.Cut(wireguardModule, "@")
	return version, err
}

func (c *wireguard) Start(t *scope.Scope, shop *Workshop, p Pair) Ends {
	const server, client, port = "10.1.1.1", "10.1.1.2", "51820"
	dir := shop.Temp(t)
	serverPublic := wireguardKeys(t, filepath.Join(dir, "server"))
	clientPublic := wireguardKeys(t, filepath.Join(dir, "client"))
	// Names are unique because all namespaces share the directory of the control sockets.
	sdev, cdev := fmt.Sprintf("wgs%d", os.Getpid()), fmt.Sprintf("wgc%d", os.Getpid())
	c.device(t, p.Server, sdev)
	c.device(t, p.Client, cdev)
	p.Server.Run("wg", "set", sdev, "private-key", filepath.Join(dir, "server"),
		"listen-port", port, "peer", clientPublic, "allowed-ips", client+"/32")
	p.Client.Run("wg", "set", cdev, "private-key", filepath.Join(dir, "client"),
		"peer", serverPublic, "allowed-ips", server+"/32", "endpoint", ServerAddr+":"+port)
	address(p.Server, sdev, server, client, "1420")
	address(p.Client, cdev, client, server, "1420")
	AwaitPing(t, p.Client, server)
	return Ends{Server: server, client: client, OuterUDP: true}
}

// device starts wireguard-go, and returns when it can be configured.
func (c *wireguard) device(t *scope.Scope, h *lab.Host, dev string) {
	const sockets = "/var/run/wireguard"
	socket := filepath.Join(sockets, dev+".sock")
	t.Cleanup(func() {
		_ = os.Remove(socket)
		_ = os.Remove(sockets) // only when it is empty
	})
	cmd := h.Command(c.program, "-f", dev)
	cmd.Env = append(cmd.Env, "LOG_LEVEL=error")
	proc := h.StartCommand(cmd)
	t.Cleanup(func() { Stop(proc) })
	for deadline := time.Now().Add(scope.Soon); ; t.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return
		}
		if proc.Exited() || time.Now().After(deadline) {
			t.Fatalf("wireguard-go did not start: %s%s", proc.Stdout(), proc.Stderr())
		}
	}
}

// wireguardKeys writes a private key, and returns the public one.
func wireguardKeys(t *scope.Scope, path string) string {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	t.Must(err)
	t.Must(os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key.Bytes())+"\n"), 0o600))
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}
