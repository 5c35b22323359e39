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

// A worker gets the listener of --metrics once, and cannot remove a socket by what it gets; the end
// of the run does. Without the flag it gets none.
func TestMetricsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.sock")
	for told, network := range map[string]string{"unix:" + path: "unix", "localhost:0": "tcp"} {
		d := &direct{current: invocation.NewCurrent(invocationOf(t, "connect", "--metrics", told))}
		file, err := d.OpenMetrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.FileListener(file)
		if err != nil || ln.Addr().Network() != network {
			t.Fatalf("%s: it listens at %v, %v", told, ln, err)
		}
		_, _ = file.Close(), ln.Close()
		if network == "tcp" {
			again, err := new(net.ListenConfig).Listen(t.Context(), network, ln.Addr().String())
			if err != nil {
				t.Fatalf("the parent has kept the socket: %v", err)
			}
			_ = again.Close()
		}
		if _, err := d.OpenMetrics(t.Context()); err == nil {
			t.Errorf("%s: it is made again", told)
		}
		if _, err := os.Lstat(path); network == "unix" && err != nil {
			t.Errorf("the worker has removed the socket: %v", err)
		}
		d.closeControl()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after the end: %v", err)
		}
	}
	d := &direct{current: invocation.NewCurrent(invocationOf(t, "connect"))}
	if _, err := d.OpenMetrics(t.Context()); err == nil {
		t.Error("there is one without the flag")
	}
	if ln, err := d.Metrics(t.Context()); ln != nil || err != nil {
		t.Errorf("without the flag: %v, %v", ln, err)
	}
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	d = &direct{current: invocation.NewCurrent(invocationOf(t, "connect", "--metrics",
		taken.Addr().String()))}
	var said *failure.Failure
	if _, err := d.Metrics(t.Context()); !errors.As(err, &said) || said.Step != failure.StepListen ||
		said.Advice != "end what listens there, or choose another --metrics" {
		t.Errorf("of a port that is taken: %v", err)
	}
}
