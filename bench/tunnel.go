package main

import (
	"context"
	"regexp"
	"strings"
	"syscall"
	"time"

	"tunnel/e2e/lab"
)

const (
	tunnelToken  = "bench-token-of-16-bytes-at-least"
	tunnelPort   = "8443"
	tunnelServer = "10.1.1.1" // the server's address in the default network
	stopWait     = 10 * time.Second
)

// tunnel is the program of this module, with its default flags.
type tunnel struct {
	secure  bool
	other   string // another build of it, to be measured beside this one; "" is this one
	program string
}

func (c *tunnel) name() string {
	if c.other != "" {
		return "other-" + c.scheme()
	}
	return c.scheme()
}

func (c *tunnel) scheme() string {
	if c.secure {
		return nameWSS
	}
	return nameWS
}

func (c *tunnel) prepare(ctx context.Context, shop *workshop) (string, error) {
	if c.other != "" {
		c.program = c.other
		version, err := shop.output(ctx, c.program, "version")
		return strings.TrimSpace(version), err
	}
	c.program = shop.file("tunnel")
	version, err := shop.output(ctx, "git", "-c", "safe.directory=*", "describe", "--tags", "--always", "--dirty")
	if err != nil {
		version = "unknown" // a copy without its history
	}
	version = strings.TrimSpace(version)
	_, err = shop.outputWith(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+version, "-o", c.program, ".")
	return version, err
}

func (c *tunnel) start(t *scope, shop *workshop, p pair) ends {
	c.serve(t, shop, p.server, shop.temp(t))
	_, addr := c.connect(t, shop, p.client)
	awaitPing(t, p.client, tunnelServer)
	return ends{server: tunnelServer, client: addr}
}

// serve starts the server, with its state in a directory, and returns once it listens.
func (c *tunnel) serve(t *scope, shop *workshop, h *lab.Host, state string, flags ...string) *lab.Proc {
	argv := []string{c.program, "serve", "--token", tunnelToken, "--max-sessions", "0", "--state", state, "--listen", serverAddr + ":" + tunnelPort, "--log-level", "warn"}
	if c.secure {
		argv = append(argv, "--tls-cert", shop.file(serverCert), "--tls-key", shop.file(serverKey))
	} else {
		argv = append(argv, "--plain")
	}
	proc := startClean(t, h, append(argv, flags...))
	proc.WaitFor("listening on ", soon)
	return proc
}

// connect starts a client, and returns it with its address once it is up.
func (c *tunnel) connect(t *scope, shop *workshop, h *lab.Host) (*lab.Proc, string) {
	argv := []string{c.program, "connect", "--token", tunnelToken, "--state", shop.temp(t), "--log-level", "warn"}
	if c.secure {
		argv = append(argv, "--ca", shop.file(caCert))
	}
	proc := startClean(t, h, append(argv, c.url()))
	line := proc.WaitFor("up: ", soon)
	found := regexp.MustCompile(`address ([\d.]+) `).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("no address in %q", line)
	}
	return proc, found[1]
}

func (c *tunnel) url() string { return c.scheme() + "://" + serverAddr + ":" + tunnelPort }

// startClean starts a program without the user's TUNNEL_ variables, and stops it before its host goes, so that it undoes
// what it did.
func startClean(t *scope, h *lab.Host, argv []string) *lab.Proc {
	cmd := h.Command(argv...)
	env := cmd.Env[:0:0]
	for _, kv := range cmd.Env {
		if !strings.HasPrefix(kv, "TUNNEL_") {
			env = append(env, kv)
		}
	}
	cmd.Env = env
	proc := h.StartCommand(cmd)
	t.Cleanup(func() { stop(proc) })
	return proc
}

// stop ends a program that runs, in its own way if it can.
func stop(proc *lab.Proc) {
	if proc.Exited() {
		return
	}
	proc.Signal(syscall.SIGTERM)
	for deadline := time.Now().Add(stopWait); !proc.Exited() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	proc.Kill()
}
