package wan_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

const (
	addrA = "198.51.100.1"
	addrB = "198.51.100.2"
)

// hosts makes two hosts with a link between them. They have no IPv6, whose own packets would be
// counted.
func hosts(t *testing.T, up, down wan.Link) (a, b *lab.Host, e *wan.Emulator) {
	t.Helper()
	a, b = pair(t)
	return a, b, wan.Connect(t, a, b, addrA+"/24", addrB+"/24", up, down)
}

// pair makes two hosts without IPv6.
func pair(t *testing.T) (a, b *lab.Host) {
	t.Helper()
	l := lab.New(t)
	a, b = l.Host("a"), l.Host("b")
	for _, h := range []*lab.Host{a, b} {
		h.Sysctl("net.ipv6.conf.default.disable_ipv6", "1")
	}
	return a, b
}

// ping sends n echo requests from a to b, a hundred a second, and returns the round-trip times by
// sequence number.
func ping(t *testing.T, a *lab.Host, n int, flags ...string) map[int]time.Duration {
	t.Helper()
	argv := append([]string{"ping", "-n", "-c", strconv.Itoa(n), "-i", "0.01", "-W", "1"}, flags...)
	// The exit code is not 0 after losses, which are expected here.
	out, _, _ := a.Try(append(argv, addrB)...)
	rtts := map[int]time.Duration{}
	for _, m := range regexp.MustCompile(`icmp_seq=(\d+) .*time=([\d.]+) ms`).FindAllStringSubmatch(
		out, -1) {
		seq, _ := strconv.Atoi(m[1])
		ms, _ := strconv.ParseFloat(m[2], 64)
		rtts[seq] = time.Duration(ms * float64(time.Millisecond))
	}
	return rtts
}

// median returns the median of round-trip times.
func median(rtts map[int]time.Duration) time.Duration {
	var sorted []time.Duration
	for _, rtt := range rtts {
		sorted = append(sorted, rtt)
	}
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// iperf runs iperf3 from a to b for a second and returns the figures of the receiver.
func iperf(t *testing.T, a, b *lab.Host, flags ...string) (mbits float64, retransmits int) {
	t.Helper()
	server := b.Start("iperf3", "-s", "-1", "-B", addrB, "--forceflush")
	server.WaitFor("Server listening", time.Minute)
	out := a.Run(append([]string{"iperf3", "-c", addrB, "-t", "1", "-J"}, flags...)...)
	var result struct {
		End struct {
			Sent struct {
				Retransmits int `json:"retransmits"`
			} `json:"sum_sent"`
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server.Wait(time.Minute)
	return result.End.Received.Rate / 1e6, result.End.Sent.Retransmits
}

func TestDelay(t *testing.T) {
	t.Parallel()
	a, _, _ := hosts(t, wan.Link{Delay: 30 * time.Millisecond},
		wan.Link{Delay: 10 * time.Millisecond})
	rtts := ping(t, a, 100)
	if len(rtts) != 100 {
		t.Fatalf("%d of 100 came back", len(rtts))
	}
	for seq, rtt := range rtts {
		if rtt < 40*time.Millisecond {
			t.Errorf("ping %d took %v, less than the line", seq, rtt)
		}
	}
	got := median(rtts)
	t.Logf("median round trip %v of 40 ms", got)
	if got > 50*time.Millisecond {
		t.Errorf("median round trip %v, want 40 ms and little more", got)
	}
}

// Each direction has its own rate: a flood fills its queue, and no more than the rate passes. How
// much less passes depends on what the machine lets the flood send; TestPaceAndDelay has the exact
// times.
func TestRate(t *testing.T) {
	t.Parallel()
	const frame = 1514
	up, down := wan.Link{Rate: 40e6, Queue: 100e3}, wan.Link{Rate: 10e6, Queue: 100e3}
	a, b, e := hosts(t, up, down)
	for _, c := range []struct {
		name  string
		link  wan.Link
		stats func() wan.Stats
		flags []string
	}{
		{"up", up, func() wan.Stats { s, _ := e.Stats(); return s }, nil},
		{"down", down, func() wan.Stats { _, s := e.Stats(); return s }, []string{"-R"}},
	} {
		began, before := time.Now(), c.stats()
		iperf(t, a, b, append([]string{"-u", "-b", "80M", "-l", "1400"}, c.flags...)...)
		after := c.stats()
		most := uint64(float64(c.link.Rate)/8*time.Since(began).Seconds()) + frame
		passed, dropped := after.Bytes-before.Bytes, after.Dropped-before.Dropped
		t.Logf("%s: %d bytes of at most %d passed, %d frames were dropped", c.name, passed, most,
			dropped)
		if passed > most || passed < uint64(c.link.Queue) || dropped == 0 {
			t.Errorf("%s: %d bytes passed, want %d to %d; %d frames were dropped, want some", c.name,
				passed, c.link.Queue, most, dropped)
		}
	}
}

// The same seed loses the same pings, in each direction.
func TestLoss(t *testing.T) {
	t.Parallel()
	const n = 200
	lossy := func(seed uint64) []int {
		link := wan.Link{Loss: 0.1, Seed: seed}
		a, _, e := hosts(t, link, link)
		// No other frames may be sent: a later ARP request is spared from loss.
		rtts := ping(t, a, n)
		var lost []int
		for seq := 1; seq <= n; seq++ {
			if _, ok := rtts[seq]; !ok {
				lost = append(lost, seq)
			}
		}
		up, down := e.Stats()
		if int(up.Lost+down.Lost) != len(lost) {
			t.Errorf("ping misses %d, the link lost %d and %d", len(lost), up.Lost, down.Lost)
		}
		return lost
	}
	first, again, other := lossy(7), lossy(7), lossy(8)
	if !slices.Equal(first, again) {
		t.Errorf("the same seed lost %v and then %v", first, again)
	}
	if slices.Equal(first, other) {
		t.Error("another seed lost the same")
	}
	if len(first) < n/10 || len(first) > n*3/10 {
		t.Errorf("%d of %d lost at 10 %% each way", len(first), n)
	}
}

// A flood fills only the queue: the delay that it adds is the queue's size divided by the rate.
func TestQueue(t *testing.T) {
	t.Parallel()
	a, b, e := hosts(t, wan.Link{Rate: 10e6, Queue: 50e3}, wan.Link{}) // 40 ms
	server := b.Start("iperf3", "-s", "-1", "-B", addrB, "--forceflush")
	server.WaitFor("Server listening", time.Minute)
	flood := a.Start("iperf3", "-c", addrB, "-t", "3", "-u", "-b", "20M", "-l", "1400")
	time.Sleep(500 * time.Millisecond)
	rtts := ping(t, a, 150)
	flood.Wait(time.Minute)
	// A ping is small and often fits where a large packet does not.
	if len(rtts) < 10 {
		t.Fatalf("%d of 150 pings came back", len(rtts))
	}
	got := median(rtts)
	t.Logf("median round trip %v behind a queue of 40 ms, %d of 150 pings answered", got, len(rtts))
	if got < 30*time.Millisecond || got > 60*time.Millisecond {
		t.Errorf("median round trip %v, want about 40 ms", got)
	}
	if up, down := e.Stats(); up.Dropped == 0 || down.Dropped != 0 {
		t.Errorf("dropped %d up and %d down", up.Dropped, down.Dropped)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	a, b, e := hosts(t, wan.Link{}, wan.Link{})
	aDev, bDev := e.Devices()
	if n := len(ping(t, a, 5)); n != 5 {
		t.Fatalf("%d of 5 pings came back", n)
	}
	e.Hole(true)
	if n := len(ping(t, a, 5)); n != 0 {
		t.Errorf("%d pings came back through a hole", n)
	}
	e.Hole(false)
	if err := e.Plug(false); err != nil {
		t.Fatal(err)
	}
	for h, dev := range map[*lab.Host]string{a: aDev, b: bDev} {
		if out := h.Run("ip", "link", "show", "dev", dev); !strings.Contains(out, "NO-CARRIER") {
			t.Errorf("%s has a carrier without a cable: %s", h.Name(), out)
		}
	}
	if err := e.Plug(true); err != nil {
		t.Fatal(err)
	}
	if n := len(ping(t, a, 5, "-w", "10")); n == 0 {
		t.Error("no ping came back with the cable plugged in again")
	}
	e.Set(wan.Link{Delay: 20 * time.Millisecond}, wan.Link{})
	if rtt := median(ping(t, a, 5)); rtt < 20*time.Millisecond {
		t.Errorf("round trip %v after the delay was set to 20 ms", rtt)
	}
}

// The link carries packets of its MTU, not super-packets of a virtual device.
func TestNoOffloads(t *testing.T) {
	t.Parallel()
	a, b, e := hosts(t, wan.Link{}, wan.Link{})
	iperf(t, a, b)
	up, down := e.Stats()
	if average := float64(up.Bytes) / float64(up.Passed); average > 1514 || average < 1000 {
		t.Errorf("frames of %.0f bytes on average", average)
	}
	if down.Passed == 0 {
		t.Error("nothing came back")
	}
}

// With offloads the hosts exchange super-frames. The link counts their segments, and TCP recovers
// from the loss of single ones.
func TestOffloads(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	link := wan.Link{Rate: 1e9, Delay: time.Millisecond, Loss: 0.002, Seed: 1}
	e := wan.ConnectOffloaded(t, a, b, addrA+"/24", addrB+"/24", link, link)
	_, retransmits := iperf(t, a, b)
	up, down := e.Stats()
	if average := float64(up.Bytes) / float64(up.Passed); average > 1514 || average < 1000 {
		t.Errorf("segments of %.0f bytes on average", average)
	}
	if up.Lost == 0 || retransmits == 0 || down.Passed == 0 {
		t.Errorf("%d segments lost, %d retransmitted, %d came back", up.Lost, retransmits,
			down.Passed)
	}
	dev, _ := e.Devices()
	var links []struct {
		Stats struct {
			TX struct {
				Bytes   uint64 `json:"bytes"`
				Packets uint64 `json:"packets"`
			} `json:"tx"`
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(a.Run("ip", "-j", "-s", "link", "show", "dev", dev)),
		&links); err != nil {
		t.Fatal(err)
	}
	if sent := links[0].Stats.TX; sent.Bytes < 2000*sent.Packets {
		t.Errorf("the device sent %d bytes in %d frames: no super-frames", sent.Bytes, sent.Packets)
	}
}

// The emulator's own speed, for the log: no limit should be above 1 Gbit/s on an idle machine.
func TestUnlimited(t *testing.T) {
	a, b, e := hosts(t, wan.Link{}, wan.Link{})
	up, retransmits := iperf(t, a, b)
	down, _ := iperf(t, a, b, "-R")
	s, _ := e.Stats()
	t.Logf("one TCP stream: %.0f Mbit/s up (%d retransmits), %.0f down; dropped %d", up,
		retransmits, down, s.Dropped)
	if up < 1 || down < 1 {
		t.Error("hardly anything passes")
	}
}

func Example() {
	link := wan.Link{Rate: 100e6, Delay: 20 * time.Millisecond, Queue: 500e3, Loss: 0.01, Seed: 1}
	fmt.Println(link)
	// Output: 100 Mbit/s, 20ms, 500 KB queue, 1 % loss
}
