package contender

import (
	"context"
	"regexp"
	"strings"
	"syscall"
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// The benchmark's server and its clients' token.
const (
	TunnelToken  = "bench-token-of-16-bytes-at-least"
	TunnelPort   = "8443"
	TunnelServer = "10.1.1.1" // the server's address in the default network
	stopWait     = 10 * time.Second
)

// Tunnel is the program of this module, with its default flags.
type Tunnel struct {
	Secure  bool
	other   string // file of another build; "" for this one
	Program string // file, after Prepare
}

// Name implements Contender.
func (c *Tunnel) Name() string {
	if c.other != "" {
		return "other-" + c.scheme()
	}
	return c.scheme()
}

func (c *Tunnel) scheme() string {
	if c.Secure {
		return NameWSS
	}
	return NameWS
}

// Prepare implements Contender.
func (c *Tunnel) Prepare(ctx context.Context, shop *Workshop) (string, error) {
	if c.other != "" {
		c.Program = c.other
		version, err := shop.output(ctx, c.Program, "version")
		return strings.TrimSpace(version), err
	}
	c.Program = shop.File("tunnel")
	version, err := shop.output(ctx, "git", "-c", "safe.directory=*", "describe", "--tags",
		"--always", "--dirty")
	if err != nil {
		version = "unknown" // no repository
	}
	version = strings.TrimSpace(version)
	_, err = shop.outputWith(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath",
		"-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", c.Program, ".")
	return version, err
}

// Start implements Contender.
func (c *Tunnel) Start(t *scope.Scope, shop *Workshop, p Pair) Ends {
	c.Serve(t, shop, p.Server, shop.Temp(t))
	_, addr := c.Connect(t, shop, p.Client)
	AwaitPing(t, p.Client, TunnelServer)
	return Ends{Server: TunnelServer, client: addr}
}

// Serve starts the server with a state directory, and returns when it listens.
func (c *Tunnel) Serve(t *scope.Scope, shop *Workshop, h *lab.Host, state string,
	flags ...string) *lab.Proc {
	argv := []string{c.Program, "serve", "--token", TunnelToken, "--max-sessions", "0", "--state",
		state, "--listen", ServerAddr + ":" + TunnelPort, "--log-level", "warn"}
	if c.Secure {
		argv = append(argv, "--tls-cert", shop.File(serverCert), "--tls-key", shop.File(serverKey))
	} else {
		argv = append(argv, "--plain")
	}
	proc := startClean(t, h, append(argv, flags...))
	proc.WaitFor("listening on ", scope.Soon)
	return proc
}

// Connect starts a client, and returns it and its address when it is up.
func (c *Tunnel) Connect(t *scope.Scope, shop *Workshop, h *lab.Host) (*lab.Proc, string) {
	argv := []string{c.Program, "connect", "--token", TunnelToken, "--state", shop.Temp(t),
		"--log-level", "warn"}
	if c.Secure {
		argv = append(argv, "--ca", shop.File(CACert))
	}
	proc := startClean(t, h, append(argv, c.URL()))
	line := proc.WaitFor("up: ", scope.Soon)
	found := regexp.MustCompile(`address ([\d.]+) `).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("no address in %q", line)
	}
	return proc, found[1]
}

// URL returns the server's URL.
func (c *Tunnel) URL() string { return c.scheme() + "://" + ServerAddr + ":" + TunnelPort }

// startClean starts a program without the user's TUNNEL_ variables, and stops it before its host is
// removed, so that it undoes its changes.
func startClean(t *scope.Scope, h *lab.Host, argv []string) *lab.Proc {
	cmd := h.Command(argv...)
	env := cmd.Env[:0:0]
	for _, kv := range cmd.Env {
		if !strings.HasPrefix(kv, "TUNNEL_") {
			env = append(env, kv)
		}
	}
	cmd.Env = env
	proc := h.StartCommand(cmd)
	t.Cleanup(func() { Stop(proc) })
	return proc
}

// Stop ends a program by SIGTERM, and by SIGKILL if it still runs after stopWait.
func Stop(proc *lab.Proc) {
	if proc.Exited() {
		return
	}
	proc.Signal(syscall.SIGTERM)
	for deadline := time.Now().Add(stopWait); !proc.Exited() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	proc.Kill()
}
