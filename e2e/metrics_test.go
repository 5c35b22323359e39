package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// asked returns what a host's curl gets, with the code of HTTP in a line of its own.
func asked(h *lab.Host, args ...string) string {
	command := append([]string{"curl", "-sS", "-m", "10", "-w", "\n%{http_code}"}, args...)
	stdout, _, _ := h.Try(command...)
	return stdout
}

// prometheus starts a Prometheus on a host that scrapes these targets each second.
func prometheus(t *testing.T, h *lab.Host, targets ...string) *lab.Proc {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yaml")
	text := fmt.Sprintf("scrape_configs:\n  - job_name: tunnel\n    scrape_interval: 1s\n"+
		"    static_configs: [{targets: [%s]}]\n", strings.Join(targets, ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return h.Start("prometheus", "--config.file="+config, "--storage.tsdb.path="+dir,
		"--web.listen-address=127.0.0.1:9090")
}

// queried returns the only value of an expression, -1 if Prometheus has none.
func queried(t *testing.T, h *lab.Host, expression string) float64 {
	t.Helper()
	out, _, _ := h.Try("promtool", "query", "instant", "http://127.0.0.1:9090", expression)
	all := regexp.MustCompile(`(?m) => (\S+) @`).FindAllStringSubmatch(out, -1)
	if len(all) > 1 {
		t.Fatalf("%s has several values:\n%s", expression, out)
	}
	if len(all) == 0 {
		return -1
	}
	value, err := strconv.ParseFloat(all[0][1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// A Prometheus sees what hub and client have carried; they say whether they are ready; and a Unix
// socket of a run that has ended is gone.
func TestMetrics(t *testing.T) {
	t.Parallel()
	const payload = 20 << 20
	server, clients := star(t, 2)
	bin := raceBuild(t)
	busy, idle := clients[0], clients[1]
	socket := filepath.Join(t.TempDir(), "metrics.sock")
	first := bin.start(t, busy, "connect", directURL, "--token", token, "--keep-trying", "--metrics",
		"198.51.100.2:9552", "--state", t.TempDir())
	first.WaitFor("--metrics: everyone who reaches this address", soon)
	first.WaitFor("not connected", soon)
	eventually(t, "a client without a hub is alive, and not ready", func() bool {
		return asked(busy, "http://198.51.100.2:9552/healthz") == "ok\n\n200" &&
			strings.HasPrefix(asked(busy, "http://198.51.100.2:9552/readyz"),
				"not connected: tcp: see `tunnel status`")
	})
	scrapes := prometheus(t, server, "127.0.0.1:9551", "198.51.100.2:9552")
	srv := bin.startServe(t, server, "--plain", "--metrics", "127.0.0.1:9551")
	srv.WaitFor("listening on ", soon)
	first.WaitFor("up: ", soon)
	second := bin.connect(t, idle, directURL, "--metrics", "unix:"+socket)
	for h, at := range map[*lab.Host][]string{
		server: {"http://127.0.0.1:9551/readyz"}, busy: {"http://198.51.100.2:9552/readyz"},
		idle: {"--unix-socket", socket, "http://localhost/readyz"},
	} {
		eventually(t, "it is ready", func() bool { return asked(h, at...) == "ok\n\n200" })
	}
	sendFile(t, busy, server, "10.1.1.1", payload)

	for what, expression := range map[string]string{
		"sent by the client":    "tunnel_client_sent_bytes_total",
		"received by the hub":   "tunnel_hub_received_bytes_total",
		"received with a token": `tunnel_token_received_bytes_total{token="flag"}`,
	} {
		var got float64
		eventually(t, what, func() bool {
			got = queried(t, server, expression)
			return got >= payload
		})
		between(t, what, uint64(got), payload)
	}
	for expression, want := range map[string]float64{
		"sum(up)": 2, "tunnel_hub_sessions": 2, "tunnel_hub_handshake_seconds_count": 2,
		`tunnel_client_handshake_seconds_count{step="tcp"}`: 1,
		`tunnel_token_sessions{token="flag"}`:               2,
		// in the sandbox
		"count(process_resident_memory_bytes > 0)": 2, "count(process_open_fds > 0)": 2,
		"count(tunnel_client_queue_delay_seconds_count > 10)": 1,
	} {
		eventually(t, expression, func() bool { return queried(t, server, expression) == want })
	}
	for h, at := range map[*lab.Host]string{server: "http://127.0.0.1:9551/metrics",
		busy: "http://198.51.100.2:9552/metrics"} {
		out, stderr, code := h.Try("sh", "-c", "curl -sS "+at+" | promtool check metrics")
		if code != 0 || out+stderr != "" {
			t.Errorf("promtool check metrics: exit code %d\n%s%s", code, out, stderr)
		}
	}
	if got := asked(server, "-H", "Host: evil.example", "http://127.0.0.1:9551/metrics"); !strings.
		HasSuffix(got, "\n421") {
		t.Errorf("another host's name is answered:\n%s", got)
	}

	stop(t, second)
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket of a run that has ended: %v", err)
	}
	stop(t, srv)
	eventually(t, "a client that has lost its hub is not ready", func() bool {
		return strings.HasSuffix(asked(busy, "http://198.51.100.2:9552/readyz"), "\n503")
	})
	eventually(t, "Prometheus sees that the hub is gone", func() bool {
		return queried(t, server, "sum(up)") == 1 &&
			queried(t, server, "tunnel_client_connected") == 0
	})
	scrapes.Kill()
}

// What --metrics cannot be is said before anything is changed.
func TestMetricsTaken(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"unix:" + file: "tunnel: listen: unix:" + file +
			": a file that is not a socket is in the way",
		"unix:/nowhere/x": "tunnel: listen: unix:/nowhere/x: open /nowhere: no such file or directory",
		"unix:x":          "--metrics unix:x: give the whole path of the socket, unix:/PATH",
		"198.51.100.99:9551": "tunnel: listen: this machine does not have the address of " +
			"198.51.100.99:9551: choose another --metrics",
		"metrics.example:9551": "--metrics metrics.example:9551: \"metrics.example\" is not an " +
			"address",
	} {
		for h, args := range map[*lab.Host][]string{server: {"serve", "--plain", "--token", token},
			client: {"connect", directURL, "--token", token}} {
			args = append(args, "--state", t.TempDir(), "--metrics", address)
			if _, stderr, code := h.Try(append([]string{string(bin)}, args...)...); code == 0 ||
				!strings.Contains(stderr, want) {
				t.Errorf("%s --metrics %s: exit code %d\n%s", args[0], address, code, stderr)
			}
		}
	}
}
