package supervisor_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tunnel/supervisor"
)

// passedEnv has a process of this test print what Listener returns.
const passedEnv = "SUPERVISOR_TEST_PASSED"

// filer is a listener of package net.
type filer interface{ File() (*os.File, error) }

// TestListener passes sockets to another process, as systemd does.
func TestListener(t *testing.T) {
	if os.Getenv(passedEnv) != "" {
		printListener()
		return
	}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	local, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "socket")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = local.Close() }()
	for name, test := range map[string]struct {
		sockets []filer
		pid     string
		want    string
	}{
		"none":              {nil, "$$", "none"},
		"one":               {[]filer{tcp}, "$$", tcp.Addr().String()},
		"another process's": {[]filer{tcp}, "1", "none"},
		"two": {[]filer{tcp, tcp}, "$$",
			"the service manager has passed 2 sockets; want one"},
		"not TCP": {[]filer{local}, "$$",
			"the socket of the service manager is a *net.UnixListener; want one of TCP"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "sh", "-c",
				"LISTEN_PID="+test.pid+` exec "$@"`, "sh", os.Args[0], "-test.run=^TestListener$")
			cmd.Env = append(os.Environ(), passedEnv+"=1")
			if n := len(test.sockets); n > 0 {
				cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(n))
			}
			for _, s := range test.sockets {
				file, err := s.File()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = file.Close() }()
				cmd.ExtraFiles = append(cmd.ExtraFiles, file)
			}
			out, err := cmd.Output()
			if got, _, _ := strings.Cut(string(out), "\n"); err != nil || got != test.want {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func printListener() {
	ln, err := supervisor.Listener()
	switch {
	case err != nil:
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
	case ln == nil:
		_, _ = os.Stdout.WriteString("none\n")
	default:
		_, _ = os.Stdout.WriteString(ln.Addr().String())
		if again, err := supervisor.Listener(); again != nil || err != nil {
			_, _ = os.Stdout.WriteString(", and again")
		}
		_, _ = os.Stdout.WriteString("\n")
		_ = ln.Close()
	}
}
