package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/doctor"
)

// What a run of serve or connect would refuse is a failure of doctor, in the run's own words.
func TestDoctorStart(t *testing.T) {
	t.Parallel()
	_, client := direct(t)
	bin := plainBuild(t)
	for _, test := range []struct {
		name, config string
		prepare      func(t *testing.T, state string) error
		says         string // of both
		connect      bool
	}{
		{name: "mode", says: "may be written to by other users (mode 0777)",
			prepare: func(_ *testing.T, state string) error {
				return os.Chmod(state, 0o777) //nolint:gosec // that is the test
			}},
		{name: "owner", says: "belongs to another user (uid 1234)",
			prepare: func(_ *testing.T, state string) error { return os.Chown(state, 1234, 1234) }},
		{name: "file", says: "it has foo, which is not of this program",
			prepare: func(_ *testing.T, state string) error {
				return os.WriteFile(filepath.Join(state, "foo"), nil, 0o600)
			}},
		{name: "damaged", says: "the file is damaged",
			prepare: func(_ *testing.T, state string) error {
				return os.WriteFile(filepath.Join(state, "tunnel.db"), []byte("garbage"), 0o600)
			}},
		{name: "network", config: "network: 198.51.100.0/24", says: "overlaps the route 198.51.100.0/24"},
		{name: "listen", config: "listen: 9.9.9.9:443", says: "does not have the address of 9.9.9.9:443"},
		{name: "certificate", config: "tls-cert: /nonexistent/c\ntls-key: /nonexistent/k",
			says: "open /nonexistent/c: no such file"},
		{name: "user", config: "user: nosuchuser", says: "there is no user nosuchuser"},
		{name: "metrics", config: "metrics: unix:/nonexistent/x", says: "unix:/nonexistent/x: "},
		{name: "device", config: "dev: eth0", says: "a device of this name exists already: eth0"},
		{name: "client's network", connect: true,
			config: "url: ws://127.0.0.1:9\nnetwork: 198.51.100.0/24",
			says:   "198.51.100.0/24 overlaps"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			command, state := "serve", filepath.Join(dir, "state")
			if test.connect {
				command = "connect"
			}
			file := filepath.Join(dir, command+".yaml")
			if err := os.WriteFile(file, []byte(test.config+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			if test.prepare != nil {
				if err := test.prepare(t, state); err != nil {
					t.Fatal(err)
				}
			}
			i := ill{name: test.name, on: client, args: []string{"--config", file, "--state", state},
				problem: doctor.NoStart, verdict: doctor.Fail, says: test.says}
			if test.connect {
				i.also = []doctor.Problem{doctor.PortClosed}
				i.check(t, bin)
				return // the run fails at the server
			}
			cmd := clean(client.Command(string(bin), "doctor", "--config", file, "--state", state))
			stdout, _, code := client.TryCommand(cmd)
			if code != 19 || !strings.Contains(stdout, test.says) {
				t.Errorf("doctor: exit code %d\n%s", code, stdout)
			}
			_, stderr, code := client.TryCommand(clean(client.Command("timeout", "-s", "INT", "10",
				string(bin), command, "--config", file, "--state", state)))
			if code == 0 || !strings.Contains(stderr, test.says) {
				t.Errorf("the run: exit code %d\n%s", code, stderr)
			}
		})
	}
}

// Beside a client that sends all through its tunnel, or lets nothing else leave, doctor examines
// the path as that client would; and it says what a killed one has left closed.
func TestDoctorBesideTunnel(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	const url = "ws://203.0.113.1:8443"
	examine := func() (string, int) {
		stdout, _, code := client.TryCommand(bin.command(client, "doctor", url, "--token", token,
			"--state", t.TempDir()))
		return stdout, code
	}
	for _, flag := range []string{"--full-tunnel", "--kill-switch"} {
		cl := bin.connect(t, client, url, flag)
		if out, code := examine(); code != 0 || !strings.Contains(out, "large messages pass") {
			t.Errorf("beside %s: exit code %d\n%s", flag, code, out)
		}
		if flag == "--full-tunnel" {
			stop(t, cl)
			continue
		}
		cl.Kill()
	}
	eventually(t, "a killed run's kill switch is a failure", func() bool {
		out, code := examine()
		return code == 19 && strings.Contains(out, "nothing leaves this machine") &&
			strings.Contains(out, "tunnel cleanup")
	})
	client.Run(string(bin), "cleanup")
	if out, code := examine(); code != 0 {
		t.Errorf("after cleanup: exit code %d\n%s", code, out)
	}
}

// A default file that is for root alone, as the packages have it, does not keep another user from
// examining the machine; doctor says that it was left out.
func TestDoctorOfAnotherUser(t *testing.T) {
	t.Parallel()
	_, client := direct(t)
	bin := string(plainBuild(t))
	script := `mount -t tmpfs tmpfs /mnt
		mkdir /mnt/upper /mnt/work
		mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
		mkdir -p -m 700 /etc/tunnel
		chmod 700 /etc/tunnel
		echo 'url: ws://127.0.0.1:9' >/etc/tunnel/connect.yaml
		cp "$1" /mnt/tunnel
		cd /
		exec setpriv --reuid 65534 --regid 65534 --clear-groups /mnt/tunnel doctor`
	cmd := clean(client.Command("unshare", "-m", "sh", "-ec", script, "sh", bin))
	stdout, stderr, code := client.TryCommand(cmd)
	for _, want := range []string{"/etc/tunnel/connect.yaml: permission denied: examined without it",
		"FAIL  capability"} {
		if code != 19 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, no %q in\n%s%s", code, want, stdout, stderr)
		}
	}
}
