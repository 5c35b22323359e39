package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/admin/status"
	"tunnel/transport"
)

// answers are what a scrape returned.
type answers struct {
	code int
	body string
}

// serve answers by m on a listener until the test ends, and returns how to ask for a path with a
// Host header.
func serve(t *testing.T, m *Metrics, p Program) (ask func(path, host string) answers, at string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { m.Serve(ctx, ln, p, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return func(path, host string) answers {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ln.Addr().String()+path,
			nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answers{answer.StatusCode, string(body)}
	}, ln.Addr().String()
}

// living is a program with nothing wrong.
func living() Program { return Program{Alive: func() {}, Ready: func() error { return nil }} }

func connection(lane int) status.Connection {
	return status.Connection{Lane: lane, TLS: "1.3", Exchange: "X25519MLKEM768", RTT: 20, MinRTT: 10,
		Congestion: "bbr", Unsent: 7, Rate: 1e6, Silence: 2}
}

func traffic(sent uint64) status.Traffic {
	return status.Traffic{Bytes: status.Bytes{Sent: sent, Received: 2 * sent}, Segments: 30, Resent: 3}
}

// exampleHub has n clients, each of a token.
func exampleHub(n int) status.Hub {
	hub := status.Hub{Dev: "tun0", Started: time.Unix(1000, 0), Traffic: traffic(500),
		Drops: map[string]uint64{"source": 4}, Refused: map[string]uint64{"token": 5}, Defects: 6,
		Limits: []status.Limit{{Name: "addresses", Used: 2, Most: 100}},
		Delays: status.Histogram{Bounds: []float64{.5, 1}, Counts: []uint64{1, 2, 4}, Sum: 9}}
	for i := range n {
		name := fmt.Sprintf("laptop%d", i)
		drops := map[string]uint64{"queue_full": 1, "memory": 0, "codel": 0, "stale": 0, "cut": 0}
		hub.Peers = append(hub.Peers, status.Peer{Name: name, Queued: 8, Seen: time.Unix(2000, 0),
			Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Remote: "192.0.2.1:77",
			Connections: []status.Connection{connection(0), connection(1)}, Drops: drops})
		hub.Tokens = append(hub.Tokens, status.Usage{Name: name, Sessions: 1, Begun: 9,
			Traffic: traffic(100), Drops: drops})
	}
	return hub
}

func exampleClient() status.Client {
	return status.Client{Dev: "tun0", Server: "wss://192.0.2.1/ws", Started: time.Unix(1000, 0),
		Since: time.Unix(3000, 0), State: status.Connected, Lost: 2, MTU: 1400, Queued: 8,
		Traffic: traffic(100), Drops: map[string]uint64{"cut": 3},
		Connections: []status.Connection{connection(0), connection(1)},
		Routes:      status.Routes{Taken: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}},
		Path:        &status.Path{Proxy: "http://192.0.2.9:3128"}, KillSwitch: true,
		DNS: status.DNS{Problem: "no resolver"}, AcceptDNS: true,
		Delays: status.Histogram{Bounds: []float64{.5}, Counts: []uint64{1, 2}, Sum: 3}}
}

func hubMetrics(hub status.Hub) *Metrics {
	m := New("v7")
	m.Hub(func() status.Hub { return hub })
	m.Admitted(30 * time.Millisecond)
	return m
}

func clientMetrics(c status.Client) *Metrics {
	m := New("v7")
	m.Client(func() status.Client { return c })
	m.Took(map[transport.Step]time.Duration{transport.StepTLS: 30 * time.Millisecond})
	return m
}

// The values of a snapshot are found under their names.
func TestMetrics(t *testing.T) {
	for name, test := range map[string]struct {
		m    *Metrics
		want []string
	}{
		"hub": {hubMetrics(exampleHub(2)), []string{
			`tunnel_hub_info{dev="tun0"} 1`, "tunnel_hub_start_time_seconds 1000", "tunnel_hub_sessions 2",
			"tunnel_hub_problem 0",
			`tunnel_hub_lanes{congestion="bbr",key_exchange="X25519MLKEM768",tls="1.3"} 4`,
			"tunnel_hub_sent_bytes_total 500", "tunnel_hub_received_bytes_total 1000",
			"tunnel_hub_sent_segments_total 30", "tunnel_hub_resent_segments_total 3",
			`tunnel_hub_dropped_packets_total{reason="source"} 4`,
			`tunnel_hub_refused_connections_total{reason="token"} 5`,
			`tunnel_hub_limit{limit="addresses"} 100`, `tunnel_hub_limit_used{limit="addresses"} 2`,
			"tunnel_hub_defects_total 6",
			`tunnel_hub_queue_delay_seconds_bucket{le="0.5"} 1`,
			`tunnel_hub_queue_delay_seconds_bucket{le="1"} 3`, "tunnel_hub_queue_delay_seconds_sum 9",
			`tunnel_hub_queue_delay_seconds_bucket{le="+Inf"} 7`, "tunnel_hub_queue_delay_seconds_count 7",
			`tunnel_hub_handshake_seconds_bucket{le="0.025"} 0`,
			`tunnel_hub_handshake_seconds_bucket{le="0.05"} 1`,
			`tunnel_token_sessions{token="laptop1"} 1`,
			`tunnel_token_begun_sessions_total{token="laptop1"} 9`,
			`tunnel_token_sent_bytes_total{token="laptop1"} 100`,
			`tunnel_token_received_bytes_total{token="laptop1"} 200`,
			`tunnel_token_sent_segments_total{token="laptop1"} 30`,
			`tunnel_token_resent_segments_total{token="laptop1"} 3`,
			`tunnel_token_dropped_packets_total{reason="queue_full",token="laptop0"} 1`,
			`tunnel_token_queued_bytes{token="laptop0"} 8`,
			`tunnel_token_unsent_bytes{token="laptop0"} 14`,
			`tunnel_token_round_trip_seconds{token="laptop0"} 0.02`,
			`tunnel_token_min_round_trip_seconds{token="laptop0"} 0.01`,
			`tunnel_token_last_seen_time_seconds{token="laptop0"} 2000`,
		}},
		"client": {clientMetrics(exampleClient()), []string{
			`tunnel_client_info{dev="tun0"} 1`, "tunnel_client_start_time_seconds 1000",
			"tunnel_client_connected 1", "tunnel_client_state_time_seconds 3000",
			"tunnel_client_lost_sessions_total 2",
			`tunnel_client_lanes{congestion="bbr",key_exchange="X25519MLKEM768",tls="1.3"} 2`,
			"tunnel_client_sent_bytes_total 100", "tunnel_client_received_bytes_total 200",
			"tunnel_client_sent_segments_total 30", "tunnel_client_resent_segments_total 3",
			"tunnel_client_queued_bytes 8", `tunnel_client_dropped_packets_total{reason="cut"} 3`,
			"tunnel_client_queue_delay_seconds_count 3",
			`tunnel_client_round_trip_seconds{lane="1"} 0.02`,
			`tunnel_client_min_round_trip_seconds{lane="1"} 0.01`,
			`tunnel_client_delivery_rate_bytes_per_second{lane="0"} 1e+06`,
			`tunnel_client_unsent_bytes{lane="0"} 7`, `tunnel_client_silence_seconds{lane="0"} 2`,
			"tunnel_client_mtu_bytes 1400", `tunnel_client_routes{state="taken"} 1`,
			`tunnel_client_routes{state="refused"} 0`, "tunnel_client_dns_servers 0",
			"tunnel_client_dns_problem 1", "tunnel_client_kill_switch 1",
			"tunnel_client_full_tunnel 0", "tunnel_client_proxied 1",
			`tunnel_client_handshake_seconds_count{step="tls"} 1`,
			`tunnel_client_handshake_seconds_count{step="proxy"} 0`,
		}},
	} {
		ask, _ := serve(t, test.m, living())
		got := ask("/metrics", "")
		lines := strings.Split(got.body, "\n")
		common := []string{fmt.Sprintf("tunnel_build_info{goversion=%q,version=\"v7\"} 1",
			goVersion(lines))}
		for _, want := range append(common, test.want...) {
			if got.code != http.StatusOK || !slices.Contains(lines, want) {
				t.Errorf("%s: lacks %s", name, want)
			}
		}
		for _, want := range []string{"\ngo_goroutines ", "\nprocess_cpu_seconds_total "} {
			if !strings.Contains(got.body, want) {
				t.Errorf("%s: lacks %q", name, want)
			}
		}
		for _, address := range []string{"192.0.2.", "10.1.", "192.168."} {
			if strings.Contains(got.body, address) {
				t.Errorf("%s: an address is in it:\n%s", name, got.body)
			}
		}
		lint := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
		lint.Stdin = strings.NewReader(got.body)
		if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: promtool check metrics: %v\n%s", name, err, out)
		}
	}
}

// goVersion returns the label of that name.
func goVersion(lines []string) string {
	label := regexp.MustCompile(`tunnel_build_info\{goversion="([^"]+)"`)
	for _, line := range lines {
		if m := label.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return ""
}

// Every figure of a status is a metric: one that is added there without a thought for this package
// fails the test.
func TestEveryField(t *testing.T) {
	told := []string{ // by metrics, or by none on purpose
		"Dev", "Version", "Started", "State", "Since", "Lost", "MTU", "Path", "Connections", "Traffic",
		"Queued", "Drops", "Delays", "Routes", "DNS", "AcceptDNS", "Problem", "KillSwitch",
		"FullTunnel", "Peers", "Tokens",
		"Refused", "Limits", "Defects", "Name", "Sessions", "Begun", "Seen", "Bytes", "Lane", "TLS",
		"Exchange", "RTT", "MinRTT", "Segments", "Resent", "Rate", "Unsent", "Congestion", "Silence",
		// texts and addresses, which have no bound
		"Reason", "Server", "Address", "Peer", "Network", "Networks", "Remote",
	}
	for _, of := range []reflect.Type{reflect.TypeFor[status.Hub](), reflect.TypeFor[status.Peer](),
		reflect.TypeFor[status.Usage](), reflect.TypeFor[status.Client](),
		reflect.TypeFor[status.Connection]()} {
		for i := range of.NumField() {
			if name := of.Field(i).Name; !slices.Contains(told, name) {
				t.Errorf("no metric has %s.%s", of.Name(), name)
			}
		}
	}
}

// BenchmarkScrape prints what a scrape of a hub with 1,000 clients costs, one of a token each.
func BenchmarkScrape(b *testing.B) {
	m := hubMetrics(exampleHub(1000))
	handler := m.handler(living(), slog.New(slog.DiscardHandler))
	for b.Loop() {
		w := &discard{header: http.Header{}}
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil)
		if err != nil {
			b.Fatal(err)
		}
		handler.ServeHTTP(w, r)
		b.ReportMetric(float64(w.n), "B/answer")
	}
}

type discard struct {
	header http.Header
	n      int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += len(p)
	return len(p), nil
}
