package dial

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"tunnel/transport"
)

// The time of each step is found on the path, without a proxy and with one.
func TestTimes(t *testing.T) {
	const slow = 30 * time.Millisecond
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	at, err := url.Parse("ws://" + ln.Addr().String() + "/ws")
	if err != nil {
		t.Fatal(err)
	}
	d := &Dialer{URL: at, Before: func(context.Context, netip.AddrPort) error {
		time.Sleep(slow) // until the address is tried
		return nil
	}}
	conn, via, err := d.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	steps := via.Took.Steps()
	_, tcp := steps[transport.StepTCP]
	if len(steps) != 2 || !tcp || steps[transport.StepName] < slow {
		t.Errorf("the steps are %v", steps)
	}
	end := via.Took.Begin(transport.StepHTTP)
	time.Sleep(slow)
	end()
	if took := via.Took.Steps()[transport.StepHTTP]; took < slow {
		t.Errorf("it took %v", took)
	}
	var none *Times
	none.Begin(transport.StepHTTP)()
	if len(none.Steps()) > 0 {
		t.Errorf("none has %v", none.Steps())
	}
}
