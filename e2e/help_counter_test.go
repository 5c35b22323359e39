package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// kernelCounters returns the counters of a host's network: those of /proc/net/snmp and netstat as
// "Udp.InErrors", those of snmp6 as "Udp6InErrors".
func kernelCounters(t *testing.T, h *lab.Host) map[string]int64 {
	t.Helper()
	counters := map[string]int64{}
	put := func(name, text string) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return // more than 63 bits: not a count
		}
		counters[name] = n
	}
	names := map[string][]string{}
	for line := range strings.Lines(h.Run("cat", "/proc/net/snmp", "/proc/net/netstat")) {
		group, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if names[group] == nil {
			names[group] = fields
			continue
		}
		for i, name := range names[group] {
			put(group+"."+name, fields[i])
		}
	}
	for line := range strings.Lines(h.Run("cat", "/proc/net/snmp6")) {
		if fields := strings.Fields(line); len(fields) == 2 {
			put(fields[0], fields[1])
		}
	}
	return counters
}

// dropped returns the number of packets that a host's kernel has dropped in its UDP sockets and in
// its device tun0. Each drop of the device counts as most, since it may be a super-packet.
func dropped(t *testing.T, h *lab.Host, most int64) int64 {
	t.Helper()
	var sum int64
	c := kernelCounters(t, h)
	for _, name := range []string{
		"Udp.RcvbufErrors", "Udp6RcvbufErrors", "Udp.MemErrors", "Udp6MemErrors", "Ip.ReasmFails",
		"Ip6ReasmFails",
		"Ip.InDiscards", "Ip6InDiscards", "Ip.OutDiscards", "Ip6OutDiscards",
	} {
		sum += c[name]
	}
	for _, name := range []string{"tx_dropped", "rx_dropped", "rx_errors", "tx_errors"} {
		n, err := strconv.ParseInt(strings.TrimSpace(h.Run("cat",
			"/sys/class/net/tun0/statistics/"+name)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += most * n
	}
	var qdiscs []struct{ Drops int64 }
	if err := json.Unmarshal([]byte(h.Run("tc", "-s", "-j", "qdisc", "show", "dev", "tun0")),
		&qdiscs); err != nil {
		t.Fatalf("tc: %v", err)
	}
	for _, q := range qdiscs {
		sum += most * q.Drops
	}
	return sum
}

// checksumErrors returns the number of packets that a host's kernel has found damaged.
func checksumErrors(t *testing.T, h *lab.Host) int64 {
	t.Helper()
	var sum int64
	for name, n := range kernelCounters(t, h) {
		if strings.HasSuffix(name, "InCsumErrors") {
			sum += n
		}
	}
	return sum
}
