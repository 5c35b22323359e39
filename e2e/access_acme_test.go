package e2e

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// acmeLife is the lifetime of the authority's certificates in seconds: long enough for a slow
// machine to get one, short enough that a test sees the renewal, when a third is left.
const acmeLife = 30

// startPebble runs Let's Encrypt's test authority on a host, under the name acme.example, until the
// end of the test. It validates a name by a TLS-ALPN-01 challenge on port 443. roots returns a file
// with the certificate that it signs with; ca has issued the certificate of its own HTTPS.
func startPebble(t *testing.T, h *lab.Host) (ca *authority, roots func() string) {
	t.Helper()
	ca = newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "acme.example")
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": "0.0.0.0:14000", "managementListenAddress": "0.0.0.0:15000",
		"certificate": cert, "privateKey": key, "httpPort": 80, "tlsPort": 443,
		"certificateValidityPeriod": acmeLife,
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := h.Command("pebble", "-config", file)
	cmd.Env = append(cmd.Env, "PEBBLE_VA_NOSLEEP=1")
	p := h.StartCommand(cmd)
	listening(t, h, 15000)
	t.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		p.Wait(soon)
	})
	return ca, func() string {
		t.Helper()
		file := filepath.Join(dir, "roots.pem")
		h.Run("curl", "-sS", "--fail", "--cacert", ca.File, "-o", file,
			"https://acme.example:15000/roots/0")
		return file
	}
}

// A server gets a certificate from an ACME authority, renews it while a client is connected, and
// uses the stored one after a restart.
func TestACME(t *testing.T) {
	t.Parallel()
	server, hosts := star(t, 2)
	client, authorityHost := hosts[0], hosts[1]
	names := []string{"198.51.100.1 server.example", "198.51.100.3 acme.example"}
	for _, h := range []*lab.Host{server, client, authorityHost} {
		h.Hosts(names...)
	}
	ca, roots := startPebble(t, authorityHost)
	clients := newAuthority(t)
	person, personKey := clients.issueClient(t, time.Now().Add(time.Hour), "client")
	bin := raceBuild(t)
	state := t.TempDir()
	flags := []string{"--token-file", tokenFile(t), "--state", state, "--listen", ":443", "--acme",
		"server.example",
		"--acme-directory", "https://acme.example:14000/dir", "--acme-ca", ca.File, "--acme-email",
		"hub@server.example",
		"--client-ca", clients.File} // the authority has no client certificate
	srv, line := bin.serveOwnKey(t, server, flags...)
	if !strings.HasPrefix(line, "tunnel connect wss://server.example --token-file ") {
		t.Errorf("the line is %s", line)
	}
	srv.WaitFor(`msg="certificate from the ACME authority"`, soon)
	show := func() *x509.Certificate {
		return serverCertificate(t, client, directServer+":443", "server.example")
	}
	cl := bin.paste(t, client, line, "--ca "+roots()+" --tls-cert "+person+" --tls-key "+personKey)
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	first := show()
	if first == nil || first.VerifyHostname("server.example") != nil {
		t.Fatalf("the certificate is %+v", first)
	}

	renewed := first
	eventually(t, "the certificate is renewed", func() bool {
		renewed = show()
		return renewed != nil && !renewed.Equal(first)
	})
	if !renewed.NotAfter.After(first.NotAfter) || time.Now().After(first.NotAfter.Add(slack)) {
		t.Errorf("renewed at %v: %v, then %v", time.Now(), first.NotAfter, renewed.NotAfter)
	}
	reaches(t, client, "10.1.1.1")
	if out := cl.Stdout(); strings.Count(out, "\n") != 1 {
		t.Errorf("the connection did not last:\n%s%s", out, cl.Stderr())
	}
	if info, err := os.Stat(filepath.Join(state, "acme")); err != nil ||
		info.Mode().Perm() != 0o700 {
		t.Errorf("state: %v, %v", info, err)
	}
	kept, err := os.ReadFile(filepath.Join(state, "acme", "server.example"))
	if err != nil {
		t.Fatal(err)
	}

	// The next run uses the stored certificate; the authority is gone.
	stop(t, srv)
	authorityHost.Run("ip", "link", "set", "eth0", "down")
	srv, _ = bin.serveOwnKey(t, server, flags...)
	srv.WaitFor(`msg="certificate from the ACME authority"`, soon)
	if now := show(); now == nil || !strings.Contains(string(kept),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: now.Raw}))) {
		t.Error("another certificate after a restart, or none")
	}
	cl.WaitForNth("up: ", 2, soon)
}

// Without an authority the server logs the failure, and a client is told what is missing.
func TestACMEFails(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example")
	server.Hosts("198.51.100.2 acme.example")
	bin := raceBuild(t)
	srv := bin.serve(t, server, "--listen", ":443", "--acme", "server.example", "--acme-directory",
		"https://acme.example:14000/dir")
	srv.WaitFor(`level=WARN msg="no certificate from the ACME authority`, soon)
	failure{name: "no certificate yet", args: []string{"connect", "wss://server.example", "--token",
		token, "--state", t.TempDir()},
		code: 6, step: "tls", says: "its log says why"}.check(t, client, bin)
	stop(t, srv)
}
