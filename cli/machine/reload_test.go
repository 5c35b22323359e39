package machine

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tunnel/cli/invocation"
	"tunnel/config/setting"
	"tunnel/supervisor"
)

// reloaded returns a direct whose configuration file has a text, and a function that gives the file
// another one.
func reloaded(t *testing.T, command, text string) (d *direct, write func(string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), command+".yaml")
	write = func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	return &direct{current: invocation.NewCurrent(invocationOf(t, command, "--config", file)),
		log: slog.New(slog.DiscardHandler)}, write
}

// A worker gets what the file says now, and may do that once it has adopted it, and no more what
// the file said before. A network that needs a restart stays.
func TestAllowReloaded(t *testing.T) { synctest.Test(t, testAllowReloaded) }

func testAllowReloaded(t *testing.T) {
	t.Helper()
	d, write := reloaded(t, "serve", "push-route: 8.8.8.0/24\n")
	forwards := func(network string) error {
		want := ServeWant(d.now().Serve)
		want.Firewall = ForwardRules(d.now().Serve,
			[]netip.Prefix{netip.MustParsePrefix(network)}, nil)
		return d.Allow(want)
	}
	changed := func(what string, before, after bool) {
		t.Helper()
		if err := forwards("8.8.8.0/24"); (err == nil) != before {
			t.Errorf("%s, what the file said: %v", what, err)
		}
		if err := forwards("9.9.9.0/24"); (err == nil) != after {
			t.Errorf("%s, what it says: %v", what, err)
		}
	}
	if err := d.Adopt(t.Context()); err == nil {
		t.Error("adopted nothing")
	}
	if _, err := d.Open(invocation.FlagConfig, true); err == nil {
		t.Error("opened a configuration that nobody has read")
	}
	const text = "push-route: 9.9.9.0/24\nnetwork: 10.9.9.0/24\n"
	write(text)
	changed("before", true, false)
	file, err := d.OpenConfig()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(file); err != nil || string(got) != text {
		t.Errorf("the worker reads %q, %v", got, err)
	}
	_ = file.Close()
	changed("not adopted", true, false)
	if err := d.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	changed("adopted", true, true)
	time.Sleep(invocation.Grace)
	changed("adopted long ago", false, true)
	if n := d.now().Serve.Network.String(); n != "10.1.1.0/24" {
		t.Errorf("the network is %s", n)
	}
	write("push-route: 8.8.8.0/24\nmtu: 1\n")
	var wrong setting.Errors
	if _, err := d.OpenConfig(); !errors.As(err, &wrong) || len(wrong) != 1 {
		t.Errorf("a bad file: %v", err)
	}
	if err := d.Adopt(t.Context()); err == nil {
		t.Error("adopted a bad file, or one twice")
	}
	changed("a bad file", false, true)
}

// Each of these leaves all as it is.
func TestRereadFails(t *testing.T) {
	d, write := reloaded(t, "serve", "masquerade: true\nnetwork: 10.7.7.0/24\n")
	name := d.now().File()
	for what, test := range map[string]struct {
		change func()
		says   string
	}{
		"open to others": {func() {
			write("max-sessions: 3\n")
			_ = os.Chmod(name, 0o622)
		}, "other users may write to it"},
		"a contradiction to what stays": {func() { write("push-route: 10.7.7.0/25\n") },
			"does not go with what needs one"},
		"gone": {func() { _ = os.Remove(name) }, "no such file"},
		"many errors": {func() { write("max-lanes: 99\nfoo: 1\n") },
			name + ":2:1: foo: unknown key\n" + name + ":1: max-lanes"},
	} {
		t.Run(what, func(t *testing.T) {
			_ = os.Remove(name)
			test.change()
			_, err := d.Reread(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v; want %q", err, test.says)
			}
			if err := d.Adopt(t.Context()); err == nil || d.now().Serve.MaxSessions != 8 {
				t.Error("adopted")
			}
		})
	}
	r, w, err := os.Pipe()
	if err == nil {
		_, err = w.WriteString("max-sessions: 3\n")
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }() // not before
	piped := &direct{current: invocation.NewCurrent(invocationOf(t, "serve", "--config",
		"/dev/fd/"+strconv.Itoa(int(r.Fd()))))}
	if _, err := piped.Reread(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "cannot be read again") {
		t.Errorf("a pipe: %v", err)
	}
}

// The service manager hears of a reload only after the start: its end would complete that.
func TestTellReload(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", name)
	d := &direct{log: slog.New(slog.DiscardHandler)}
	for _, s := range []supervisor.State{supervisor.Disconnected, supervisor.Reloading,
		supervisor.Reloaded, supervisor.Connected, supervisor.Reloading, supervisor.Reloaded} {
		d.Tell(s)
	}
	for _, want := range []string{"STATUS=not connected", "READY=1\nSTATUS=connected",
		"RELOADING=1\nMONOTONIC_USEC=", "READY=1"} {
		buffer := make([]byte, 100)
		_ = socket.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := socket.Read(buffer)
		if err != nil || !strings.HasPrefix(string(buffer[:n]), want) {
			t.Errorf("told %q, %v; want %q", buffer[:n], err, want)
		}
	}
}
