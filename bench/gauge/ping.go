package gauge

import (
	"regexp"
	"strconv"
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// Ping sends n echo requests, interval apart, and returns the round trips, without lost ones, in
// milliseconds.
func Ping(t *scope.Scope, from *lab.Host, addr string, n int, interval time.Duration) []float64 {
	out, stderr, _ := from.Try("ping", "-n", "-c", strconv.Itoa(n), "-W", "2",
		"-i", strconv.FormatFloat(interval.Seconds(), 'f', -1, 64), addr)
	rtts := parsePing(out)
	if len(rtts) < n/2 {
		t.Fatalf("%d of %d pings to %s were answered: %s", len(rtts), n, addr, stderr)
	}
	return rtts
}

// parsePing returns the round trips in ping's output, in milliseconds.
func parsePing(out string) []float64 {
	var rtts []float64
	for _, m := range regexp.MustCompile(`(?m)icmp_seq=.* time=([\d.]+) ms$`).FindAllStringSubmatch(
		out, -1) {
		if ms, err := strconv.ParseFloat(m[1], 64); err == nil {
			rtts = append(rtts, ms)
		}
	}
	return rtts
}
