package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A token that is bound to a client certificate is refused with any other certificate. A client
// whose authority is removed stays connected, and cannot connect again.
func TestBoundToken(t *testing.T) {
	t.Parallel()
	server, hosts := star(t, 2)
	client, other := hosts[0], hosts[1]
	bin := raceBuild(t)
	ca, next := newAuthority(t), newAuthority(t)
	file, dir := filepath.Join(t.TempDir(), "ca.pem"), t.TempDir()
	put := func(authorities ...*authority) {
		t.Helper()
		var all []byte
		for _, a := range authorities {
			data, err := os.ReadFile(a.File)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, data...)
		}
		if err := os.WriteFile(file+".new", all, 0o600); err != nil {
			t.Fatal(err)
		}
		rename(t, file+".new", file)
	}
	put(ca)
	secret, _, _ := server.TryCommand(bin.command(server, "token", "create", "laptop", "--cert-cn",
		"laptop.example", "--state", dir))
	srv, line := bin.serveOwnKey(t, server, "--state", dir, "--client-ca", file)
	if list := server.Run(string(bin), "token", "list", "--state", dir); !strings.Contains(list,
		"laptop.example") {
		t.Errorf("the list does not say to whom the token is bound:\n%s", list)
	}
	pin := regexp.MustCompile(`sha256:\S+`).FindString(line)
	connect := func(a *authority, name string) []string {
		cert, key := a.issueClient(t, time.Now().Add(time.Hour), name)
		return []string{"connect", "wss://" + directServer + ":8443", "--pin", pin, "--state",
			t.TempDir(),
			"--token", strings.TrimSpace(secret), "--tls-cert", cert, "--tls-key", key}
	}
	failure{name: "another's certificate", args: connect(ca, "phone.example"), code: 8,
		step: "auth", says: "bound to another certificate"}.check(t, other, bin)
	if !strings.Contains(srv.Stderr(), "CN=laptop.example, and it came with CN=phone.example") {
		t.Errorf("the server does not say why:\n%s", srv.Stderr())
	}
	cl := bin.start(t, client, connect(ca, "laptop.example")...)
	cl.WaitFor("up: ", soon)
	cl.WaitFor("msg=connected", soon) // stdout and stderr of a worker are not in step
	for _, log := range []string{srv.Stderr(), cl.Stderr()} {
		if !regexp.MustCompile(`msg=connected .*tls=1.3 kex=X25519MLKEM768`).MatchString(log) {
			t.Errorf("the log does not say what was negotiated:\n%s", log)
		}
	}
	if !strings.Contains(srv.Stderr(), "cert=\"CN=laptop.example\"") {
		t.Errorf("the log does not say whose certificate it was:\n%s", srv.Stderr())
	}

	time.Sleep(1100 * time.Millisecond) // the file is checked once a second
	put(next)
	failure{name: "an authority that is gone", args: connect(ca, "laptop.example"), code: 6,
		step: "tls", says: "unknown certificate authority"}.check(t, other, bin)
	reaches(t, client, "10.1.1.1") // the session goes on
	stop(t, cl)
	cl = bin.start(t, client, connect(next, "laptop.example")...)
	cl.WaitFor("up: ", soon)
	stop(t, cl)
}
