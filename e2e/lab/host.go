package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// tryLimit bounds a command in the foreground, so that one that hangs fails its own test and not
// the whole run.
const tryLimit = 2 * time.Minute

// bridgeDev is the bridge of a switch.
const bridgeDev = "br0"

// Host is a network namespace.
type Host struct {
	lab  *Lab
	name string
	ns   string
	devs atomic.Int32 // devices made so far
}

// NS returns the name of the namespace, as `ip netns` knows it.
func (h *Host) NS() string { return h.ns }

// Name returns the name that the host was made with.
func (h *Host) Name() string { return h.name }

// Hosts gives the host its own /etc/hosts, with the lines given after localhost, and an empty
// resolv.conf: only these names resolve.
func (h *Host) Hosts(lines ...string) {
	h.lab.t.Helper()
	dir := filepath.Join(etcDir, h.ns)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.lab.t.Fatalf("lab: hosts of %s: %v", h.name, err)
	}
	text := strings.Join(append([]string{"127.0.0.1 localhost"}, lines...), "\n") + "\n"
	for file, content := range map[string]string{"hosts": text, "resolv.conf": ""} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			h.lab.t.Fatalf("lab: hosts of %s: %v", h.name, err)
		}
	}
}

// Sysctl sets a kernel parameter of the host's network, such as "net.ipv4.ip_forward".
func (h *Host) Sysctl(key, value string) {
	h.lab.t.Helper()
	h.Run("sh", "-c", `printf %s "$2" >"/proc/sys/$1"`, "sh", strings.ReplaceAll(key, ".", "/"),
		value)
}

// Command prepares a command that runs in the host. ip(8) executes it in its own process, so the
// command's pid is the program's. Its messages are in English whatever the user's locale is.
func (h *Host) Command(argv ...string) *exec.Cmd {
	h.lab.t.Helper()
	h.need(argv[0])
	cmd := exec.CommandContext(context.Background(), "ip", append([]string{"netns", "exec", h.ns},
		argv...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// Run runs a command that must succeed, and returns its stdout.
func (h *Host) Run(argv ...string) string {
	h.lab.t.Helper()
	stdout, stderr, code := h.Try(argv...)
	if code != 0 {
		h.lab.t.Fatalf("%s: %s: exit code %d\n%s%s", h.name, strings.Join(argv, " "), code, stdout,
			stderr)
	}
	return stdout
}

// Try runs a command that may fail, for at most two minutes. The code of a program that a signal
// has ended is -1.
func (h *Host) Try(argv ...string) (stdout, stderr string, code int) {
	h.lab.t.Helper()
	return h.TryCommand(h.Command(argv...))
}

// TryCommand is Try for a command that the caller has changed (its environment, stdin).
func (h *Host) TryCommand(cmd *exec.Cmd) (stdout, stderr string, code int) {
	h.lab.t.Helper()
	var outBuf, errBuf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &outBuf, &errBuf
	cmd.WaitDelay = killWait // a child of the killed process may hold the pipes
	err := cmd.Start()
	if err == nil {
		limit := time.AfterFunc(tryLimit, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		if !limit.Stop() {
			h.lab.t.Fatalf("%s: %s: killed after %v\n%s%s", h.name, strings.Join(cmd.Args, " "),
				tryLimit, &outBuf, &errBuf)
		}
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		h.lab.t.Fatalf("%s: %s: %v", h.name, strings.Join(cmd.Args, " "), err)
	}
	return outBuf.String(), errBuf.String(), cmd.ProcessState.ExitCode()
}

// Pids lists the processes that run inside the host.
func (h *Host) Pids() []int {
	h.lab.t.Helper()
	pids, err := pidsIn(h.ns)
	if err != nil {
		h.lab.t.Fatalf("lab: %v", err)
	}
	return pids
}

// nextDev names the host's next device.
func (h *Host) nextDev() string { return fmt.Sprintf("eth%d", h.devs.Add(1)-1) }

// configure assigns an address to a device and sets it up.
func (h *Host) configure(dev, cidr string) {
	h.lab.t.Helper()
	if cidr != "" {
		h.lab.ip("-n", h.ns, "addr", "add", cidr, "dev", dev)
	}
	h.lab.ip("-n", h.ns, "link", "set", "dev", dev, "up")
}

// need fails the test, with the name of the Debian package, if a program is missing.
func (h *Host) need(program string) {
	h.lab.t.Helper()
	if _, err := exec.LookPath(program); err == nil || strings.Contains(program, "/") {
		return
	}
	pkg := program
	switch program {
	case "nginx":
		pkg = "nginx-light"
	case "nc":
		pkg = "netcat-openbsd"
	case "ping":
		pkg = "iputils-ping"
	case "ifconfig", "route":
		pkg = "net-tools"
	case "setcap", "capsh":
		pkg = "libcap2-bin"
	case "nft":
		pkg = "nftables"
	case "danted":
		pkg = "dante-server"
	case "ip":
		pkg = "iproute2"
	case "setpriv", "unshare", "prlimit":
		pkg = "util-linux"
	}
	h.lab.t.Fatalf("%s is not installed: apt-get install %s", program, pkg)
}
