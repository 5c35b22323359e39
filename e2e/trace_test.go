package e2e

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
	"tunnel/transport/tcp"
)

var traces = flag.String("traces", "", "record the traces of transport/tcp into this `DIR`")

// TestRecordTraces records what the kernel shows of the client's connection on different lines, for
// tcp.TestDecisions to replay. It is no test: without -traces nothing is recorded.
//
//	go test ./e2e -run TestRecordTraces -traces "$PWD/transport/tcp/testdata"
func TestRecordTraces(t *testing.T) {
	if *traces == "" {
		t.Skip("nothing is recorded without -traces")
	}
	line := func(rate int64, loss float64) *wan.Link {
		return &wan.Link{
			Rate: rate, Delay: 20 * time.Millisecond, Queue: max(int(rate)/200, 50e3), Loss: loss, Seed: 1,
		}
	}
	const long = "-t8"
	for name, test := range map[string]struct {
		link  *wan.Link // nil for a local network
		flows [][]string
		rest  time.Duration // between the transfers
	}{
		"lan":        {nil, [][]string{{"-t6"}}, 0},
		"10mbit":     {line(10e6, 0), [][]string{{long}}, 0},
		"100mbit":    {line(100e6, 0), [][]string{{long}}, 0},
		"100mbit-1%": {line(100e6, 0.01), [][]string{{long}}, 0},
		"rest":       {line(100e6, 0.01), [][]string{{"-t5"}, {"-t5", "-R"}, {"-t5"}}, time.Second},
		"reverse":    {line(100e6, 0), [][]string{{long, "-R"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var server, client *lab.Host
			if test.link == nil {
				server, client = direct(t)
			} else {
				l := lab.New(t)
				server, client = l.Host("server"), l.Host("client")
				wan.Connect(t, server, client, directServer+"/24", "198.51.100.2/24", *test.link, *test.link)
				noJournals(t, server, client)
			}
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			bin.connect(t, client, directURL)
			stop, done := make(chan struct{}), make(chan []tcp.Sample)
			go func() { done <- watchSocket(client, stop) }()
			for i, flags := range test.flows {
				if i > 0 {
					time.Sleep(test.rest)
				}
				iperf(t, client, server, "10.1.1.1", flags...)
			}
			close(stop)
			samples := <-done
			if len(samples) < 8 {
				t.Fatalf("%d samples", len(samples))
			}
			var out strings.Builder
			for _, s := range samples {
				data, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				out.Write(append(data, '\n'))
			}
			file := filepath.Join(*traces, name+".jsonl")
			//nolint:gosec // no secret
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// watchSocket samples the host's connection to the server until stop is closed, as often as the
// tuner does at most: every 20 ms while BBR is in STARTUP, else every 250 ms.
func watchSocket(h *lab.Host, stop <-chan struct{}) (samples []tcp.Sample) {
	began := time.Now()
	wait := time.Duration(0)
	for {
		select {
		case <-stop:
			return samples
		case <-time.After(wait):
		}
		wait = 250 * time.Millisecond
		text := h.Run("ss", "-HtinmO", "state", "established", "( dport = :8443 )")
		s := parseSocket(text)
		if s.At = time.Since(began).Round(time.Millisecond); s.MSS == 0 {
			continue
		}
		samples = append(samples, s)
		if s.Gain > 512 {
			wait = 20 * time.Millisecond
		}
	}
}

// parseSocket parses ss(8)'s output about one connection.
func parseSocket(text string) (s tcp.Sample) {
	number := func(pattern string) float64 {
		m := regexp.MustCompile(`\b` + pattern).FindStringSubmatch(text)
		if m == nil {
			return 0
		}
		unit := map[byte]float64{'K': 1e3, 'M': 1e6, 'G': 1e9}[m[1][len(m[1])-1]]
		f, _ := strconv.ParseFloat(strings.TrimRight(m[1], "KMG"), 64)
		return f * max(unit, 1)
	}
	ms := func(pattern string) time.Duration {
		return time.Duration(number(pattern) * float64(time.Millisecond)).Round(time.Microsecond)
	}
	const decimal, rate = `([\d.]+)`, `([\d.]+[KMG]?)bps`
	if m := regexp.MustCompile(`\b(bbr|cubic|reno)\b`).FindStringSubmatch(text); m != nil {
		s.Control = m[1]
	}
	s.RTT, s.MinRTT = ms("rtt:"+decimal), ms("minrtt:"+decimal)
	s.Rate = uint64(number("delivery_rate "+rate) / 8)
	s.Acked, s.Segments = uint64(number("bytes_acked:"+decimal)), uint32(number("segs_out:"+decimal))
	s.Resent, s.NotSent = uint32(number(`retrans:\d+/`+decimal)), uint32(number("notsent:"+decimal))
	s.MSS, s.Window = uint32(number("mss:"+decimal)), uint32(number("cwnd:"+decimal))
	s.Received = uint32(number("rcv_space:" + decimal))
	s.Offered = uint32(number("rcv_ssthresh:" + decimal))
	s.Bandwidth = uint64(number(`bbr:\(bw:`+rate) / 8)
	s.Gain = uint32(number("pacing_gain:"+decimal)*256 + 0.5)
	s.SendBuffer, s.RecvBuffer = int(number("tb"+decimal)), int(number("rb"+decimal))
	return s
}
