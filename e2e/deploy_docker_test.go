package e2e

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	baseImage = "debian:bookworm-slim" // the base of deploy/Dockerfile

	// baseCache keeps a base image that was built because it could not be pulled.
	baseCache = "/var/cache/tunnel-e2e/debian-bookworm.tar"
)

// deploy/Dockerfile is built in a real engine and runs with docker run and with
// deploy/compose.yaml.
func TestDocker(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	e.pullBase()
	root := e.context(plainBuild(t))
	begin := time.Now()
	for image, flags := range map[string][]string{"tunnel": nil,
		"nonroot": {"--target", "nonroot"}} {
		e.must(append(append([]string{"docker", "build"}, flags...), "--build-arg",
			"http_proxy=http://"+bridgeAddr+":"+proxyPort, "-t", image, "-f",
			filepath.Join(root, "deploy", "Dockerfile"), root)...)
	}
	t.Logf("docker build took %v", time.Since(begin).Round(time.Second))
	if _, err := e.run("docker", "build", "--build-arg", "TARGETARCH=riscv64", "--build-arg",
		"http_proxy=http://"+bridgeAddr+":"+proxyPort, "-f",
		filepath.Join(root, "deploy", "Dockerfile"), root); err == nil ||
		!strings.Contains(err.Error(), "\nbin/tunnel-riscv64 is missing: ") {
		t.Errorf("an image of an architecture without its program: %v", err)
	}

	other := filepath.Join(root, "bin", "tunnel-riscv64")
	e.must("cp", filepath.Join(root, "bin", "tunnel"), other)
	e.must("sh", "-c", "printf '\\363' | dd of="+other+" bs=1 seek=18 conv=notrunc") // EM_RISCV
	if _, err := e.run("docker", "build", "--build-arg", "TARGETARCH=riscv64", "--build-arg",
		"http_proxy=http://"+bridgeAddr+":"+proxyPort, "-f",
		filepath.Join(root, "deploy", "Dockerfile"), root); err == nil ||
		!strings.Contains(err.Error(), "\nbin/tunnel-riscv64 is for another machine: ") {
		t.Errorf("an image with a program of another architecture: %v", err)
	}

	t.Run("image", e.testImage)
	t.Run("volume", e.testVolume)
	t.Run("run", func(t *testing.T) { e.testRun(t, "tunnel", "0") })
	t.Run("nonroot", func(t *testing.T) { e.testRun(t, "nonroot", "65534") })
	t.Run("recipe", e.testRecipe)
	t.Run("compose", func(t *testing.T) {
		e.testCompose(t, filepath.Join(root, "deploy", "compose.yaml"))
	})
}

// testImage has the images hold the programs, what these need, and nothing else that can be run. A
// container without CAP_NET_ADMIN says so.
func (e *engine) testImage(t *testing.T) {
	for _, image := range []string{"tunnel", "nonroot"} {
		id := e.must("docker", "create", image)
		list := e.must("sh", "-c", "docker export "+id+" | tar -tv")
		e.must("docker", "rm", id)
		size := e.must("docker", "image", "inspect", "-f", "{{.Size}}", image)
		t.Logf("%s: %s bytes in %d files", image, size, strings.Count(list, "\n"))
		if !strings.Contains(list, " etc/ssl/certs/ca-certificates.crt\n") {
			t.Errorf("%s lacks the certificates of authorities:\n%s", image, list)
		}
		checkModes(t, image, list)
	}
	if out, err := e.run("docker", "run", "--rm", "--cap-drop", "ALL", "--device", "/dev/net/tun",
		"tunnel", "connect", "wss://hub.example"); err == nil ||
		!strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("without the capability: %v\n%s", err, out)
	}
}

// testRun runs two containers of an image on one network with docker run, as a user of that number
// with no more than CAP_NET_ADMIN. They are healthy while packets can cross.
func (e *engine) testRun(t *testing.T, image, uid string) {
	e.must("docker", "network", "create", "wire")
	run := []string{"docker", "run", "--detach", "--network", "wire", "--cap-drop", "ALL",
		"--cap-add", "NET_ADMIN", "--read-only", "--tmpfs", "/run/tunnel", "--device", "/dev/net/tun",
		"--health-interval", "1s", "--health-retries", "2", "--env", "TUNNEL_TOKEN=" + token}
	if uid == "0" { // another user's capability is that of the program's file
		run = append(run, "--security-opt", "no-new-privileges")
	}
	e.must(append(run, "--name", "hub", "--volume", "hub:/var/lib/tunnel", image, "serve", "--public",
		"hub")...)
	e.waitLog(t, "hub", "listening on ")
	e.must(append(run, "--name", "spoke", "--tmpfs", "/var/lib/tunnel:uid="+uid, image, "connect",
		"wss://hub:8443", "--pin", e.pin(t, "hub"))...)
	e.waitLog(t, "spoke", "up: ")
	for _, name := range []string{"hub", "spoke"} {
		e.becomes(t, name, "healthy")
		for i, field := range strings.Fields(e.must("docker", "top", name, "-eo", "pid,uid")) {
			if i > 1 && i%2 == 1 && field != uid {
				t.Errorf("%s runs as user %s, want %s", name, field, uid)
			}
		}
	}
	e.checkTunnel(t, "hub", "spoke")
	e.must("docker", "exec", "hub", "tunnel", "token", "create", "laptop")
	e.stop(t, "hub")
	e.becomes(t, "spoke", "unhealthy")
	health := e.must("docker", "inspect", "-f",
		"{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}", "spoke")
	if !strings.Contains(health, "18 tunnel: status: client tun0: not connected: ") {
		t.Errorf("the health of a client without a server is %s", health)
	}
	e.stop(t, "spoke")
	e.must("docker", "rm", "hub", "spoke")
	e.must("docker", "volume", "rm", "hub")
	e.must("docker", "network", "rm", "wire")
}

// becomes waits until the health of a container is that.
func (e *engine) becomes(t *testing.T, container, health string) {
	t.Helper()
	eventually(t, container+" becomes "+health, func() bool {
		return e.must("docker", "inspect", "-f", "{{.State.Health.Status}}", container) == health
	})
}

// pin waits until the server in a container prints its connect command, and returns the pin in it.
func (e *engine) pin(t *testing.T, container string) string {
	t.Helper()
	e.waitLog(t, container, "tunnel connect wss://")
	pin := regexp.MustCompile(`sha256:[A-Za-z0-9+/=]+`).FindString(e.logs(container))
	if pin == "" {
		t.Fatalf("%s prints no pin\n%s", container, e.logs(container))
	}
	return pin
}

// testCompose runs deploy/compose.yaml, two containers on two networks.
func (e *engine) testCompose(t *testing.T, file string) {
	compose := []string{"docker", "compose"}
	if _, err := e.run("docker", "compose", "version"); err != nil {
		compose = []string{"docker-compose"}
	}
	compose = append(compose, "-p", "e2e", "-f", file)
	if out, err := e.run(append(compose, "config")...); err == nil ||
		!strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("compose without a token: %v, want a refusal that says how to make one\n%s", err, out)
	}
	e.env = append(e.env, "TUNNEL_TOKEN="+token)
	e.must(append(compose, "build", "--build-arg", "http_proxy=http://"+bridgeAddr+":"+proxyPort)...)
	e.must(append(compose, "up", "--detach", "serve")...)
	hub := e.must(append(compose, "ps", "-q", "serve")...)
	e.waitLog(t, hub, "listening on ")
	pin := e.pin(t, hub)
	// As the comment in the file says.
	script := strings.Join(compose, " ") + ` logs serve | grep -o 'sha256:[A-Za-z0-9+/=]*' | tail -n 1`
	if got := e.must("sh", "-c", script); got != pin {
		t.Errorf("%s prints %q, want %s", script, got, pin)
	}
	e.env = append(e.env, "TUNNEL_PIN="+pin)
	e.must(append(compose, "up", "--detach", "connect")...)
	spoke := e.must(append(compose, "ps", "-q", "connect")...)
	e.waitLog(t, spoke, "up: ")
	if log := e.logs(spoke); strings.Contains(log, "not encrypted") {
		t.Errorf("the client goes without TLS:\n%s", log)
	}

	direct := e.must("docker", "inspect", "-f",
		"{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", hub)
	if out, err := e.in(spoke, "ping", "-n", "-c1", "-W1", direct).CombinedOutput(); err == nil {
		t.Errorf("the client's network reaches the server at %s without the tunnel\n%s", direct, out)
	}
	e.checkTunnel(t, hub, spoke)
	e.stop(t, spoke)
	e.stop(t, hub)
	e.must(append(compose, "down", "--volumes")...)
}

// checkTunnel sends pings and a file between two containers, through the tunnel.
func (e *engine) checkTunnel(t *testing.T, hub, spoke string) {
	t.Helper()
	for _, ping := range []*exec.Cmd{
		e.in(spoke, "ping", "-n", "-c3", "-i0.2", "-W5", "10.1.1.1"),
		e.in(hub, "ping", "-n", "-c3", "-i0.2", "-W5", "10.1.1.3"),
	} {
		if out, err := ping.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	data := randomBytes(20 << 20)
	receiver := e.in(hub, "sh", "-c", "nc -d -l 10.1.1.1 9000 | sha256sum")
	var sum bytes.Buffer
	receiver.Stdout = &sum
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hub listens on port 9000", func() bool {
		out, err := e.in(hub, "ss", "-Hltn", "sport = :9000").Output()
		return err == nil && len(out) > 0
	})
	sender := e.in(spoke, "nc", "-N", "10.1.1.1", "9000")
	sender.Stdin = bytes.NewReader(data)
	if out, err := sender.CombinedOutput(); err != nil {
		t.Errorf("send a file: %v\n%s", err, out)
	}
	if err := receiver.Wait(); err != nil || !strings.HasPrefix(sum.String(), sha(data)) {
		t.Errorf("file: %v, checksum %q, want %s", err, sum.String(), sha(data))
	}
}

// stop stops a container. The program in it must end with exit code 0: had it not ended within ten
// seconds of SIGTERM, it would have got SIGKILL.
func (e *engine) stop(t *testing.T, container string) {
	t.Helper()
	begin := time.Now()
	e.must("docker", "stop", "-t", "10", container)
	took := time.Since(begin)
	code := e.must("docker", "inspect", "-f", "{{.State.ExitCode}}", container)
	if code != "0" {
		t.Errorf("docker stop took %v with exit code %s, want 0\n%s", took, code, e.logs(container))
	}
	t.Logf("docker stop took %v", took)
}

// logs returns the output of a container.
func (e *engine) logs(container string) string {
	cmd := exec.CommandContext(context.Background(), "docker", "logs", container)
	cmd.Env = e.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// waitLog waits until a container writes a line to stdout that begins with prefix.
func (e *engine) waitLog(t *testing.T, container, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", "logs", "--follow", container)
	cmd.Env = e.env
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	found := false
	for !found && lines.Scan() {
		found = strings.HasPrefix(lines.Text(), prefix)
	}
	cancel()
	_ = cmd.Wait() // it runs until it is killed
	if !found {
		t.Fatalf("%s wrote no line that begins with %q\n%s", container, prefix, e.logs(container))
	}
}

// context makes the build context of `docker build`, with a build of the program.
func (e *engine) context(bin program) (root string) {
	e.t.Helper()
	root = e.t.TempDir()
	layOut(e.t, root, bin)
	return root
}

// layOut copies the repository's deployment files, and a build of the program to where they expect
// it.
func layOut(t *testing.T, root string, bin program) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	// With cp: an executable that this process has written cannot run while a child that was forked
	// for another test still has it open for writing.
	for _, args := range [][]string{
		{"-r", "../deploy", "../.dockerignore", root},
		{string(bin), filepath.Join(root, "bin", "tunnel")},
	} {
		if out, err := exec.CommandContext(t.Context(), "cp", args...).CombinedOutput(); err != nil {
			t.Fatalf("cp %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// pullBase gives the engine the base image of deploy/Dockerfile, from its registry, or built by
// debootstrap if no registry is reachable.
func (e *engine) pullBase() {
	e.t.Helper()
	begin := time.Now()
	_, err := e.run("docker", "pull", "--quiet", baseImage)
	if err == nil {
		e.t.Logf("pulled %s in %v", baseImage, time.Since(begin).Round(time.Second))
		return
	}
	e.t.Logf("no registry after %v: %v", time.Since(begin).Round(time.Second), err)
	if _, err := os.Stat(baseCache); err != nil {
		if err := makeImage(e.t.Context(), baseCache); err != nil {
			e.t.Fatalf("make %s: %v", baseImage, err)
		}
	}
	e.must("docker", "import", baseCache, baseImage)
	e.t.Logf("made %s in %v", baseImage, time.Since(begin).Round(time.Second))
}
