package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Both sides run with a worker and read configuration files that only root can read. The server's
// is a pipe, which can be read only once: its worker has to get what the parent has read.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := write("secret", token+"\n")
	text := "plain: true\nnetwork: 10.9.0.0/16\ndev: hub\ntoken-file: " + secret + "\nstate: " +
		filepath.Join(dir, "of-server") + "\n"
	srv := watch(t, server.StartCommand(clean(server.Command("bash", "-c",
		`exec "$1" serve --config <(printf %s "$0")`, text, string(bin)))))
	srv.WaitFor("listening on [::]:8443, network 10.9.0.0/16, dev hub, address 10.9.0.1 ", soon)
	file := write("connect.yaml",
		"url: "+directURL+"\ntoken: "+token+"\ndev: spoke\nstate: of-client\nmtu: 1300\n")
	cl := bin.start(t, client, "connect", "--config", file, "--mtu", "1250")
	cl.WaitFor("up: dev spoke, address 10.9.0.3 peer 10.9.0.4, network 10.9.0.0/16, mtu 1250", soon)
	reaches(t, client, "10.9.0.1")
	for what, proc := range map[string]int{"serve": srv.Worker() - srv.Pid(),
		"connect": cl.Worker() - cl.Pid()} {
		if proc == 0 {
			t.Errorf("%s has no worker", what)
		}
	}
	for _, name := range []string{"of-server", "of-client"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// A client connects with only a host name, to a server on its default port.
func TestBareHost(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	srv := bin.startServe(t, server)
	pin := regexp.MustCompile(`sha256:\S+`).FindString(srv.WaitFor("tunnel connect ", soon))
	cl := bin.start(t, client, "connect", "198.51.100.1", "--pin", pin, "--token", token, "--state",
		t.TempDir())
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	// The error is that of the port whose attempt got further.
	wrong := bin.start(t, client, "connect", "https://198.51.100.1", "--pin", pin, "--token",
		"another-token-of-16", "--state", t.TempDir())
	if code := wrong.Wait(soon); code != 8 {
		t.Errorf("exit code %d; want 8\n%s", code, wrong.Stderr())
	}
	oneLine(t, wrong.Stderr())
}

// A client behind a gateway fails at its first attempt: it prints the reason and nothing else, also
// about the device that it had made.
func TestFirstAttemptIsOneLine(t *testing.T) {
	t.Parallel()
	_, client, _ := routed(t)
	bin := plainBuild(t)
	for _, more := range [][]string{nil, {"--no-sandbox"}} {
		args := append([]string{"connect", "wss://203.0.113.1:1", "--token", token, "--state",
			t.TempDir()}, more...)
		proc := bin.start(t, client, args...)
		if code := proc.Wait(soon); code != 4 {
			t.Errorf("exit code %d; want 4", code)
		}
		stderr := proc.Stderr()
		if more != nil { // without the warning about --no-sandbox
			_, stderr, _ = strings.Cut(stderr, "\n")
		}
		oneLine(t, stderr)
	}
}

// oneLine checks that stderr is one line, the reason of the failure.
func oneLine(t *testing.T, stderr string) {
	t.Helper()
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "tunnel: ") {
		t.Errorf("said\n%s; want one line", stderr)
	}
}
