package machine

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
)

// A worker gets the listener of --metrics or --web once, and cannot remove a socket by what it
// gets; the end of the run does. Without the flag it gets none, nor by the name of another flag.
func TestListenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.sock")
	machine := func(command ...string) *direct {
		return &direct{current: invocation.NewCurrent(invocationOf(t, command...)),
			beside: map[string]net.Listener{}}
	}
	for _, test := range []struct{ command, flag, told, network string }{
		{"connect", invocation.FlagMetrics, "unix:" + path, "unix"},
		{"connect", invocation.FlagMetrics, "localhost:0", "tcp"},
		{"serve", invocation.FlagWeb, "localhost:0", "tcp"},
	} {
		d := machine(test.command, "--"+test.flag, test.told)
		file, err := d.OpenListener(t.Context(), test.flag)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.FileListener(file)
		if err != nil || ln.Addr().Network() != test.network {
			t.Fatalf("%v: it listens at %v, %v", test, ln, err)
		}
		_, _ = file.Close(), ln.Close()
		if test.network == "tcp" {
			again, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ln.Addr().String())
			if err != nil {
				t.Fatalf("the parent has kept the socket: %v", err)
			}
			_ = again.Close()
		}
		if _, err := d.OpenListener(t.Context(), test.flag); err == nil {
			t.Errorf("%v: it is made again", test)
		}
		if _, err := os.Lstat(path); test.network == "unix" && err != nil {
			t.Errorf("the worker has removed the socket: %v", err)
		}
		d.closeControl()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after the end: %v", err)
		}
	}
	d := machine("serve")
	for _, flag := range []string{invocation.FlagMetrics, invocation.FlagWeb, "listen", "state"} {
		if _, err := d.OpenListener(t.Context(), flag); err == nil {
			t.Errorf("there is one without --%s", flag)
		}
		if ln, err := d.ListenAt(t.Context(), flag); ln != nil || err != nil {
			t.Errorf("without --%s: %v, %v", flag, ln, err)
		}
	}
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, flag := range []string{invocation.FlagMetrics, invocation.FlagWeb} {
		d = machine("serve", "--"+flag, taken.Addr().String())
		var said *failure.Failure
		if _, err := d.ListenAt(t.Context(), flag); !errors.As(err, &said) ||
			said.Step != failure.StepListen ||
			said.Advice != "end what listens there, or choose another --"+flag {
			t.Errorf("of a port that is taken: %v", err)
		}
	}
}
