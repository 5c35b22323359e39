package doctor

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

// Flags are those of a client: of a server's configuration they say only where it is.
func TestLoadServe(t *testing.T) {
	t.Setenv("TUNNEL_TOKEN_FILE", "")
	if err := os.Unsetenv("TUNNEL_TOKEN_FILE"); err != nil { // Setenv brings it back
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "serve.yaml")
	if err := os.WriteFile(file, []byte("token-file: /of/server\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := Command()
	var got told
	command.Action = func(c *cli.Context) (err error) {
		got, err = load(c)
		return err
	}
	app := &cli.App{Commands: []*cli.Command{command}}
	err := app.RunContext(t.Context(), []string{"tunnel", "doctor", "--config", file, "--state", dir,
		"--token-file", "/of/client", "--tls-cert", "/of/client.pem", "--proxy", "none"})
	if err != nil {
		t.Fatal(err)
	}
	if s := got.serve.Serve; s.TokenFile != "/of/server" || s.TLSCert != "" || s.State != dir {
		t.Errorf("token file %s, certificate %s, state %s", s.TokenFile, s.TLSCert, s.State)
	}
}

// Root without CAP_NET_ADMIN, as in a container, sets no mark.
func TestUnmark(t *testing.T) {
	runtime.LockOSThread() // for good: the thread ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	sets[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	d := &ws.Dialer{Dialer: dial.Dialer{Mark: 1}}
	if unmark([]*ws.Dialer{d}); d.Mark != 0 {
		t.Error("the dialer sets a mark")
	}
}
