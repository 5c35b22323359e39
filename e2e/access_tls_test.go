package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// serveOwnKey starts a server that has only a token, and returns it with the connect command that
// it prints.
func (p program) serveOwnKey(t *testing.T, h *lab.Host, flags ...string) (proc *lab.Proc,
	line string) {
	t.Helper()
	proc = p.start(t, h, append([]string{"serve"}, flags...)...)
	line = proc.WaitFor("tunnel connect ", soon)
	if first, _, _ := strings.Cut(proc.Stdout(), "\n"); !strings.HasPrefix(first,
		"listening on ") || !strings.HasPrefix(line, "tunnel connect ") {
		t.Errorf("printed\n%swant `listening on`, then `tunnel connect`", proc.Stdout())
	}
	return proc, line
}

// tokenFile returns a file with the token of all tests.
func tokenFile(t *testing.T) string {
	t.Helper()
	// a name that has to be quoted in a shell
	file := filepath.Join(t.TempDir(), "the token's file")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// paste runs a command line in a shell of a host, with the program in its PATH and more appended.
func (p program) paste(t *testing.T, h *lab.Host, line, more string) *lab.Proc {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(string(p), filepath.Join(dir, "tunnel")); err != nil {
		t.Fatal(err)
	}
	cmd := clean(h.Command("sh", "-c", "exec "+line+" "+more))
	cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"), "TUNNEL_STATE="+t.TempDir())
	return watch(t, h.StartCommand(cmd))
}

// A server without a certificate generates a key, once; the command that it prints connects from
// another host.
func TestGeneratedKey(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	state := filepath.Join(t.TempDir(), "state")
	flags := []string{"--token-file", tokenFile(t), "--state", state}
	srv, line := bin.serveOwnKey(t, server, flags...)
	if !strings.HasPrefix(line, "tunnel connect wss://"+directServer+":8443 --pin sha256:") {
		t.Errorf("the line is %s", line)
	}
	for path, want := range map[string]os.FileMode{state: os.ModeDir | 0o700, filepath.Join(state,
		"key.pem"): 0o600, filepath.Join(state, "cert.pem"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %v", path, info.Mode(), err, want)
		}
	}
	cl := bin.paste(t, client, line, "")
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")

	// The pin survives a restart and a new certificate, but not a new key.
	stop(t, srv)
	cl.WaitFor("down: ", soon)
	if err := os.Remove(filepath.Join(state, "cert.pem")); err != nil {
		t.Fatal(err)
	}
	srv, again := bin.serveOwnKey(t, server, flags...)
	if again != line {
		t.Errorf("after a restart the line is\n%s\nand was\n%s", again, line)
	}
	cl.WaitForNth("up: ", 2, soon)
	stop(t, srv)
	key := filepath.Join(state, "key.pem")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	srv, other := bin.serveOwnKey(t, server, flags...)
	if other == line || strings.Contains(srv.Stdout()+srv.Stderr(), token) {
		t.Errorf("a new key has the same line, or the token is printed:\n%s%s", srv.Stdout(),
			srv.Stderr())
	}
	cl.WaitFor("and not the pinned sha256:", soon)
	stop(t, cl)

	// A damaged file is not replaced.
	stop(t, srv)
	if err := os.Truncate(key, 100); err != nil {
		t.Fatal(err)
	}
	failure{name: "a damaged key", args: append([]string{"serve"}, flags...), code: 13,
		step: "state", says: key}.check(t, server, bin)

	// Behind a NAT the user has to give the address; the certificate is made for it.
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	_, line = bin.serveOwnKey(t, server, append(flags, "--public", "server.example:8443")...)
	if !strings.HasPrefix(line, "tunnel connect wss://server.example:8443 --pin sha256:") {
		t.Errorf("the line is %s", line)
	}
	client.Hosts("198.51.100.1 server.example")
	// With --ca the name is verified as well.
	cl = bin.paste(t, client, line, "--ca "+filepath.Join(state, "cert.pem"))
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
}

// A client with --pin refuses servers with other keys.
func TestPinFails(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example other.example")
	bin := plainBuild(t)
	_, line := bin.serveOwnKey(t, server, "--token", token, "--state", t.TempDir(), "--public",
		"server.example:8443")
	pin := regexp.MustCompile(`sha256:\S+`).FindString(line)
	if !strings.HasSuffix(line, " --token-file FILE") {
		t.Errorf("the line is %s", line)
	}
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	oldCert, oldKey := ca.issue(t, time.Now().Add(-time.Hour), "server.example")
	bin.serve(t, server, "--listen", ":443", "--network", "10.2.2.0/24", "--dev", "tun1",
		"--tls-cert", cert, "--tls-key", key)
	bin.serve(t, server, "--listen", ":444", "--network", "10.3.3.0/24", "--dev", "tun2",
		"--tls-cert", oldCert, "--tls-key", oldKey)
	connect := func(url string, flags ...string) []string {
		return append([]string{"connect", url, "--token", token, "--state", t.TempDir()}, flags...)
	}
	const wrong = "sha256:d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM="
	for _, f := range []failure{
		{name: "another key, what was seen", args: connect("wss://server.example:8443", "--pin",
			wrong), code: 6, step: "tls", says: "key is " + pin},
		{name: "another key, what was expected", args: connect("wss://server.example:8443", "--pin",
			wrong), code: 6, step: "tls", says: "not the pinned " + wrong},
		{name: "another key, of a good certificate", args: connect("wss://server.example", "--pin",
			wrong, "--ca", ca.File), code: 6, step: "tls", says: wrong},
		{name: "the right key, of no authority", args: connect("wss://server.example:8443", "--pin",
			pin, "--ca", ca.File), code: 6, step: "tls", says: "unknown authority"},
		{name: "no pin", args: connect("wss://server.example:8443"), code: 6, step: "tls",
			says: "--pin " + pin + " if the server itself prints just that"},
		{name: "another name", args: connect("wss://other.example", "--ca", ca.File), code: 6,
			step: "tls", says: "valid for server.example, not other.example"},
		{name: "an expired certificate", args: connect("wss://server.example:444", "--ca", ca.File),
			code: 6, step: "tls", says: "has expired or is not yet valid: current time "},
	} {
		f.check(t, client, bin)
	}
	// One matching pin is enough, and then neither name nor authority are verified.
	stop(t, bin.connect(t, client, "wss://other.example:8443", "--pin", wrong, "--pin", pin))
}

// A server with --client-ca demands a client certificate as well as the token.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	clients, others := newAuthority(t), newAuthority(t)
	srv, line := bin.serveOwnKey(t, server, "--token", token, "--state", t.TempDir(), "--client-ca",
		clients.File)
	pin := regexp.MustCompile(`sha256:\S+`).FindString(line)
	connect := func(flags ...string) []string {
		return append([]string{"connect", "wss://" + directServer + ":8443", "--pin", pin,
			"--state", t.TempDir(), "--token", token}, flags...)
	}
	soonOver := time.Now().Add(time.Hour)
	good, goodKey := clients.issueClient(t, soonOver, "client")
	foreign, foreignKey := others.issueClient(t, soonOver, "client")
	old, oldKey := clients.issueClient(t, time.Now().Add(-time.Hour), "client")
	serverKind, serverKindKey := clients.issue(t, soonOver, "client.example")
	for _, f := range []failure{
		{name: "no certificate", args: connect(), code: 6, step: "tls",
			says: "certificate required"},
		{name: "another authority's", args: connect("--tls-cert", foreign, "--tls-key", foreignKey),
			code: 6, step: "tls", says: "unknown certificate authority"},
		{name: "an expired one", args: connect("--tls-cert", old, "--tls-key", oldKey), code: 6,
			step: "tls", says: "expired certificate"},
		{name: "a server's", args: connect("--tls-cert", serverKind, "--tls-key", serverKindKey),
			code: 6, step: "tls", says: "bad certificate"},
		{name: "a certificate and no token", args: []string{"connect", "wss://" + directServer +
			":8443", "--pin", pin, "--state", t.TempDir(),
			"--tls-cert", good, "--tls-key", goodKey}, code: 8, step: "auth", says: "401"},
	} {
		f.check(t, client, bin)
	}
	if strings.Contains(srv.Stderr(), "msg=connected") {
		t.Errorf("a client was admitted:\n%s", srv.Stderr())
	}
	bin.start(t, client, connect("--tls-cert", good, "--tls-key", goodKey)...).WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
}

// issueClient is issue for a client certificate.
func (a *authority) issueClient(t *testing.T, until time.Time, name string) (certFile,
	keyFile string) {
	t.Helper()
	a.usage = x509.ExtKeyUsageClientAuth
	defer func() { a.usage = x509.ExtKeyUsageServerAuth }()
	return a.issue(t, until, name)
}

// The server's certificate is renewed during a transfer: the connection goes on, and the next one
// gets the new certificate.
func TestCertificateRotates(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example")
	bin := raceBuild(t)
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	next, nextKey := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	srv := bin.serve(t, server, "--tls-cert", cert, "--tls-key", key)
	cl := bin.connect(t, client, "wss://server.example:8443", "--ca", ca.File)
	first := serverCertificate(t, client, directServer+":8443", "server.example")

	const part = 8 << 20
	data := randomBytes(2 * part)
	receiver := server.Start("sh", "-c", "nc -d -l 10.1.1.1 9000 | sha256sum")
	listening(t, server, 9000)
	sender := client.Command("nc", "-N", "10.1.1.1", "9000")
	input, err := sender.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	sending := client.StartCommand(sender)
	write := func(data []byte) {
		t.Helper()
		if _, err := input.Write(data); err != nil {
			t.Fatalf("the transfer broke: %v", err)
		}
	}
	write(data[:part])
	rename(t, next, cert) // half of the change: a certificate without its key
	eventually(t, "the server complains of half a rotation, and shows the old certificate",
		func() bool {
			return serverCertificate(t, client, directServer+":8443", "server.example").Equal(first) &&
				strings.Contains(srv.Stderr(), "the new certificate is not used")
		})
	write(data[part : part+part/2])
	rename(t, nextKey, key)
	eventually(t, "the server shows the new certificate", func() bool {
		return !serverCertificate(t, client, directServer+":8443", "server.example").Equal(first)
	})
	write(data[part+part/2:])
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	sending.Wait(2 * soon)
	receiver.Wait(2 * soon)
	if !strings.HasPrefix(receiver.Stdout(), sha(data)) {
		t.Errorf("checksum %q, want %s", receiver.Stdout(), sha(data))
	}
	if out := cl.Stdout(); strings.Count(out, "\n") != 1 {
		t.Errorf("the connection did not last:\n%s%s", out, cl.Stderr())
	}
	if n := strings.Count(srv.Stderr(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, srv.Stderr())
	}
	stop(t, cl)
	bin.connect(t, client, "wss://server.example:8443", "--ca", ca.File)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	// os.Rename does not work across file systems.
	if out, err := exec.CommandContext(t.Context(), "mv", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// serverCertificate returns the certificate that a server presents to a host, trusted or not, or
// nil if there is none.
func serverCertificate(t *testing.T, from *lab.Host, address, name string) *x509.Certificate {
	t.Helper()
	conn, err := from.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	// The certificate is inspected, not verified.
	secured := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := secured.HandshakeContext(t.Context()); err != nil {
		return nil
	}
	return secured.ConnectionState().PeerCertificates[0]
}
