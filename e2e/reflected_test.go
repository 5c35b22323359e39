package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tunnel/e2e/lab"
)

// reflector answers each request on h at port with what it was sent: all values of headers, and the
// login in base64 and clear.
func reflector(t *testing.T, h *lab.Host, port string) {
	t.Helper()
	var ln net.Listener
	err := h.Do(func() (err error) {
		ln, err = new(net.ListenConfig).Listen(context.Background(), "tcp", ":"+port)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer func() { _ = conn.Close() }()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				var all []string
				for _, name := range []string{"Authorization", "X-Key", "Proxy-Authorization"} {
					value := r.Header.Get(name)
					_, last, _ := strings.Cut(value, " ")
					login, _ := base64.StdEncoding.DecodeString(last)
					all = append(all, value, last, string(login))
				}
				_, _ = conn.Write([]byte("HTTP/1.1 403 " + strings.Join(all, "|") +
					"\r\nContent-Length: 0\r\n\r\n"))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		group.Wait()
	})
}

// A server, or a proxy, that sends back what it was sent brings no secret into the log, to those
// who ask whether the client is ready, into its status, to doctor or into its bundle.
func TestReflected(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	reflector(t, server, "8443")
	reflector(t, server, "3128")
	dir := t.TempDir()
	secret := filepath.Join(dir, "token")
	if err := os.WriteFile(secret, []byte(`SECRET<shared>&"token`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{
		"server": {directURL, "--header", "X-Key=SECRET-of-a-header"},
		"proxy":  {directURL, "--proxy", "http://usr:SECRETpassword@198.51.100.1:3128"},
	} {
		flags = append(flags, "--token-file", secret, "--state", filepath.Join(dir, name))
		cl := bin.start(t, client, append([]string{"connect", "--keep-trying", "--metrics",
			"localhost:9552"}, flags...)...)
		cl.WaitFor("403 ", soon)
		told := map[string]string{}
		told["status"] = client.Run(string(bin), "status", "--state", dir)
		told["json"] = client.Run(string(bin), "status", "--json", "--state", dir)
		told["ready"] = asked(client, "http://localhost:9552/readyz")
		bundle := filepath.Join(dir, name+".tar.gz")
		told["doctor"], _, _ = client.TryCommand(bin.command(client, append([]string{"doctor", "--bundle",
			bundle}, flags...)...))
		told["bundle"] = client.Run("tar", "-xzOf", bundle)
		told["doctor --json"], _, _ = client.TryCommand(bin.command(client, append([]string{"doctor",
			"--json"}, flags...)...))
		told["log"] = cl.Stderr() + cl.Stdout()
		for where, text := range told {
			for _, bad := range []string{"SECRET", "U0VDUkVU", "dXNyOl", "TRUNVF"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s: %s is in %s:\n%s", name, bad, where, text)
				}
			}
			if where != "ready" && !strings.Contains(text, "403 ") {
				t.Errorf("%s: %s does not say what was answered:\n%s", name, where, text)
			}
		}
		stop(t, cl)
	}
}
