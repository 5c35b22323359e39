package gauge

import (
	"time"

	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// WarmUp is how long a flood runs before and after the time in which packets are counted.
const WarmUp = time.Second

// Flood sends datagrams of 64 bytes from a host to an address of another, and returns how many
// arrive in a second, counted for some seconds. The packets of the device outer, unless that is "",
// are the tunnel's own datagrams, and not counted.
func Flood(t *scope.Scope, from, to *lab.Host, addr string, seconds int, outer string) float64 {
	server, client := StartStream(from, to, addr, seconds+int(2*WarmUp/time.Second), "-u", "-b", "0",
		"-l", "64")
	t.Sleep(WarmUp)
	count := func() (uint64, time.Time) {
		n, err := Arrived(to)
		t.Must(err)
		if outer != "" {
			own, err := Received(to, outer)
			t.Must(err)
			n -= own
		}
		return n, time.Now()
	}
	n0, t0 := count()
	t.Sleep(time.Duration(seconds) * time.Second)
	n1, t1 := count()
	if client.Exited() {
		t.Fatalf("the flood ended early: %s", client.Stdout())
	}
	// iperf3's own report of the flood is not needed, and its end may take long.
	client.Kill()
	server.Kill()
	return float64(n1-n0) / t1.Sub(t0).Seconds()
}
