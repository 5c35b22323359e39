package machine

import (
	"bytes"
	"context"
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
			ctx, cancel := context.WithTimeout(t.Context(), test.limit)
			defer cancel()
			began := time.Now()
			runHook(ctx, "--on-up", test.command, "tun0", link, slog.New(slog.NewTextHandler(&log,
				nil)))
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
