package admission

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// The connections of a source, and of its network, have a burst and a rate, whether or not they
// send anything; a known source does not count for its network.
func TestLimiterRates(t *testing.T) {
	l := newTestLimiter(t, Rules{})
	admits := func(address string) bool {
		c := connFrom(address)
		ok := l.Admit(c)
		if ok {
			l.ConnState(c, http.StateClosed)
		}
		l.pass(time.Millisecond)
		return ok
	}
	// count returns how many connections of a source in a row are admitted, up to most.
	count := func(address string, most int) (n int) {
		for n < most && admits(address) {
			n++
		}
		return n
	}
	n := count("2001:db8::1", 1000)
	if n < 256 || n > 256+20 {
		t.Errorf("%d connections of one source at once", n)
	}
	l.refuses("2001:db8::2", Rate)
	l.pass(time.Second)
	if n = count("2001:db8::1", 1000); n < 20 || n > 21 {
		t.Errorf("%d connections a second", n)
	}
	total := 0
	for i := range 5000 {
		if admits(fmt.Sprintf("2001:db8:0:%x::1", i)) {
			total++
		}
	}
	if most := 2048 + 200*6; total > most {
		t.Errorf("%d connections of one /48 in 5 s; want at most %d", total, most)
	}
	if !admits("2001:db8:1::1") {
		t.Error("another /48 is refused")
	}
	l.known[from("2001:db8:0:ffff::1")] = true
	if n = count("2001:db8:0:ffff::1", 2000); n < 1024 || n > 1024+200 {
		t.Errorf("%d connections of a known source in the same /48", n)
	}
	for range 10000 {
		if !admits("127.0.0.1") {
			t.Fatal("this machine's own are refused")
		}
	}
}

// A client behind a proxy pays with its request, and a connection costs one token.
func TestLimiterRequests(t *testing.T) {
	for name, remote := range map[string]string{"direct": "192.0.2.1", "proxied": "198.51.100.1"} {
		l := newTestLimiter(t, Rules{Proxies: Proxies{netip.MustParsePrefix("198.51.100.1/32")}})
		n := 0
		for range 1000 {
			c := connFrom(remote)
			if l.Admit(c) {
				if _, ok := l.Requested(l.tracked[c], from("192.0.2.1")); ok {
					n++
				}
				l.ConnState(c, http.StateClosed)
			}
		}
		if n != 256 {
			t.Errorf("%s: %d requests at once", name, n)
		}
		l.empty()
	}
}

// Of a source without a token left.
func BenchmarkRefuse(b *testing.B) {
	l := newTestLimiter(&testing.T{}, Rules{})
	source := netip.MustParseAddr("192.0.2.1")
	c, admitted := connFrom("192.0.2.1"), 0
	for l.Admit(c) {
		admitted++
	}
	b.Logf("%d admitted before", admitted)
	b.ReportAllocs()
	for b.Loop() {
		if !l.TurnsAway(source) {
			b.Fatal("it is not refused")
		}
	}
}
