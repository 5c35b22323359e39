package gauge

import (
	"slices"
	"strings"
	"testing"
)

func TestParseStream(t *testing.T) {
	t.Parallel()
	s, err := parseStream(
		[]byte(`{"start":{},"end":{"sum_sent":{"bytes":9,"retransmits":0},` +
			`"sum_received":{"bytes":1250000,"bits_per_second":1e7}}}`))
	if err != nil || s != (Stream{Bytes: 1250000, Rate: 1e7}) {
		t.Errorf("%+v, %v", s, err)
	}
	for text, want := range map[string]string{
		`{"error":"unable to connect"}`: "iperf3: unable to connect",
		`{"end":{}}`:                    "no received bytes",
		`nothing`:                       "read the report",
		``:                              "read the report",
	} {
		if _, err := parseStream([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestParsePing(t *testing.T) {
	t.Parallel()
	got := parsePing(`PING 10.1.1.1 (10.1.1.1) 56(84) bytes of data.
64 bytes from 10.1.1.1: icmp_seq=1 ttl=64 time=0.057 ms
64 bytes from 10.1.1.1: icmp_seq=2 ttl=64 time=12.3 ms
From 10.1.1.9 icmp_seq=3 Destination Host Unreachable
64 bytes from 10.1.1.1: icmp_seq=4 ttl=64 time=105 ms (DUP!)

--- 10.1.1.1 ping statistics ---
4 packets transmitted, 3 received, 0% packet loss, time 3ms
rtt min/avg/max/mdev = 0.057/6.1/12.3/6.1 ms
`)
	if !slices.Equal(got, []float64{0.057, 12.3}) {
		t.Errorf("round trips %v", got)
	}
}

func TestSNMPCounter(t *testing.T) {
	t.Parallel()
	const text = `Ip: Forwarding DefaultTTL
Ip: 1 64
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
Udp: 1000 2 30 4 28 6
UdpLite: InDatagrams NoPorts
UdpLite: 7 8
`
	for name, want := range map[string]uint64{"InDatagrams": 1000, "RcvbufErrors": 28} {
		if got, err := snmpCounter(text, "Udp", name); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", name, got, err, want)
		}
	}
	if _, err := snmpCounter(text, "Udp", "Nothing"); err == nil {
		t.Error("a counter that is not there")
	}
	if _, err := snmpCounter("", "Udp", "InDatagrams"); err == nil {
		t.Error("a counter in an empty file")
	}
}

func TestDevPackets(t *testing.T) {
	t.Parallel()
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls
    lo:    1       2    0    0    0     0          0         0     0       0    0    0    0     0
  eth0: 15040     42    0    0    0     0          0         0  9999      77    0    0    0     0
`
	if got, err := devPackets(text, "eth0"); err != nil || got != 42 {
		t.Errorf("%d, %v, want 42", got, err)
	}
	if _, err := devPackets(text, "eth1"); err == nil {
		t.Error("a device that is not there")
	}
}

func TestStat(t *testing.T) {
	t.Parallel()
	const text = "4242 (odd ) name (x) S 1 2 3 0 -1 4194560 100 200 0 0 1234 66 7 8 20 0 9 0 55 " +
		"1000 200 184 ...\n"
	if got, err := statTicks(text); err != nil || got != 1300 {
		t.Errorf("%d, %v, want 1300", got, err)
	}
	for _, bad := range []string{"", "1 (x) S 1", "1 (x) S 1 2 3 0 -1 4 1 2 0 0 a b"} {
		if _, err := statTicks(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if got, err := StatusKiB("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t  2048 kB\n", "VmRSS"); err != nil ||
		got != 2048 {
		t.Errorf("%v, %v, want 2048", got, err)
	}
	if _, err := StatusKiB("Name:\tx\n", "VmRSS"); err == nil {
		t.Error("a size that is not there")
	}
	if got := CPUModel("processor\t: 0\nmodel name\t: Fast 3000\n", ""); got != "Fast 3000" {
		t.Errorf("model %q", got)
	}
}
