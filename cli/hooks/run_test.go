package hooks

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tunnel/host"
)

func TestHook(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOOK_OUT", filepath.Join(dir, "out"))
	link := host.Address{Local: netip.MustParseAddr("10.1.1.3"),
		Peer: netip.MustParseAddr("10.1.1.4")}
	for name, test := range map[string]struct {
		command string
		limit   time.Duration
		out     string
		log     string
	}{
		"none": {"", time.Minute, "", ""},
		"shell": {`echo "$TUNNEL_DEV $TUNNEL_ADDRESS $TUNNEL_PEER" | tee "$HOOK_OUT" >/dev/null && true`,
			time.Minute, "tun0 10.1.1.3 10.1.1.4\n", ""},
		"fails": {`echo x > "$HOOK_OUT"; exit 3`, time.Minute, "x\n",
			`msg="hook failed" flag=--on-up err="exit status 3"`},
		"too long": {`echo x > "$HOOK_OUT"; sleep 600 & wait`, time.Second, "x\n",
			"it took too long"},
		"does not exist": {"/nonexistent/command 2>/dev/null", time.Minute, "", "exit status 127"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(os.Getenv("HOOK_OUT"))
			var log bytes.Buffer
			began := time.Now()
			Call{Flag: "on-up", Command: test.command, Dev: "tun0", Address: link}.run(t.Context(),
				test.limit, false, slog.New(slog.NewTextHandler(&log, nil)))
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			out, err := os.ReadFile(os.Getenv("HOOK_OUT"))
			if string(out) != test.out || (err != nil) != (test.out == "") {
				t.Errorf("wrote %q, %v; want %q", out, err, test.out)
			}
			if got := log.String(); (got == "") != (test.log == "") || !strings.Contains(got,
				test.log) {
				t.Errorf("logged %q; want %q", got, test.log)
			}
		})
	}
}

// TestHookEnvironment is what a hook knows of the program's own variables.
func TestHookEnvironment(t *testing.T) {
	t.Setenv("TUNNEL_TOKEN", "secret-1")
	t.Setenv("TUNNEL_PROXY", "http://me:secret-2@proxy")
	t.Setenv("TUNNEL_STATE", "secret-3")
	t.Setenv("HTTPS_PROXY", "http://me:secret-4@proxy:3128")
	t.Setenv("http_proxy", "me:secret-5@proxy:3128")
	t.Setenv("ALL_PROXY", "socks5://me:se%cret-6@proxy") // not a URL by the rules
	t.Setenv("FTP_PROXY", "http://me:secret-7@proxy")
	t.Setenv("Https_Proxy", "http://me:secret-8@proxy")
	t.Setenv("all_proxy", "socks5://open-proxy:1080")
	t.Setenv("NO_PROXY", "example.com")
	t.Setenv("HOOK_OWN", "kept")
	var log bytes.Buffer
	link := host.Address{Local: netip.MustParseAddr("10.1.1.3"),
		Peer: netip.MustParseAddr("10.1.1.4")}
	const command = `
		test "$HOOK_OWN $TUNNEL_DEV $TUNNEL_ADDRESS $TUNNEL_PEER" = "kept tun0 10.1.1.3 10.1.1.4" &&
		test "$all_proxy $NO_PROXY" = "socks5://open-proxy:1080 example.com" &&
		! env | grep -q 'secret\|cret-6'`
	Call{Flag: "on-up", Command: command, Dev: "tun0", Address: link}.Up(t.Context(),
		slog.New(slog.NewTextHandler(&log, nil)))
	if strings.Contains(log.String(), "failed") {
		t.Error(log.String())
	}
}
