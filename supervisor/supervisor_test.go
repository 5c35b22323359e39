package supervisor_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tunnel/supervisor"
)

// TestTell receives what systemd receives, on a socket as systemd makes it.
func TestTell(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", name)
	for state, want := range map[supervisor.State]string{
		supervisor.Listening:    "READY=1\nSTATUS=listening",
		supervisor.Connected:    "READY=1\nSTATUS=connected",
		supervisor.Disconnected: "STATUS=not connected, trying again",
		supervisor.Alive:        "WATCHDOG=1",
	} {
		if !state.IsKnown() {
			t.Errorf("%s is not known", state)
		}
		if err := supervisor.Tell(state); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(buffer)
		if err != nil || string(buffer[:n]) != want {
			t.Errorf("%s: %q, %v; want %q", state, buffer[:n], err, want)
		}
	}
	if supervisor.State("READY=1").IsKnown() {
		t.Error("any text is a state")
	}
	_ = socket.Close()
	if err := supervisor.Tell(supervisor.Alive); err == nil {
		t.Error("no error without a reader")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := supervisor.Tell(supervisor.Alive); err != nil {
		t.Errorf("without systemd: %v", err)
	}
}

func TestInterval(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for name, test := range map[string]struct {
		usec, pid string
		want      time.Duration
	}{
		"none":              {"", "", 0},
		"ours":              {"30000000", own, 15 * time.Second},
		"of any process":    {"30000000", "", 15 * time.Second},
		"another process's": {"30000000", "1", 0},
		"no number":         {"often", own, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", test.usec)
			t.Setenv("WATCHDOG_PID", test.pid)
			if got := supervisor.Interval(); got != test.want {
				t.Errorf("%v; want %v", got, test.want)
			}
		})
	}
}
