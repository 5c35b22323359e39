package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/transport"
	"tunnel/transport/tcp"
)

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

// fixed is a lookup that ends at once with these addresses.
func fixed(addrs ...netip.Addr) <-chan answer {
	answers := make(chan answer, 1)
	answers <- answer{addrs: addrs}
	close(answers)
	return answers
}

func TestInterleave(t *testing.T) {
	for _, test := range [][2][]netip.Addr{
		{nil, {}},
		{addrs("192.0.2.1"), addrs("192.0.2.1")},
		{addrs("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"),
			addrs("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2")},
		{addrs("::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3"),
			addrs("192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3")},
	} {
		if got := interleave(test[0]); !slices.Equal(got, test[1]) {
			t.Errorf("%v are tried as %v; want %v", test[0], got, test[1])
		}
	}
}

// blackHole swallows every attempt to connect to it: a listener whose queue is full drops the first
// packet. It returns its port.
func blackHole(t *testing.T, address netip.Addr) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: address.As4()}),
		unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(name.(*unix.SockaddrInet4).Port) //nolint:forcetypeassert // it is one
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(address.String(),
		port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return port
}

// Dead addresses, silent and refusing, cost hardly any time; the first that answers is the one.
func TestRace(t *testing.T) {
	hole, refusing, living := netip.MustParseAddr("127.9.0.1"), netip.MustParseAddr(
		"127.9.0.2"), netip.MustParseAddr("127.9.0.3")
	port := blackHole(t, hole)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(living.String(),
		port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	var tried []netip.Addr
	d := &Dialer{Before: func(_ context.Context, hop netip.AddrPort) error {
		if fmt.Sprint(hop.Port()) != port {
			t.Errorf("port %d, want %s", hop.Port(), port)
		}
		tried = append(tried, hop.Addr()) // one after the other, or the race detector reports it
		return nil
	}}

	began := time.Now()
	won, _, err := d.race(t.Context(), fixed(hole, refusing, living), port)
	if err != nil {
		t.Fatal(err)
	}
	_ = won.conn.Close()
	if got := tcp.IPOf(won.conn.RemoteAddr()); got != living ||
		!slices.Equal(tried, []netip.Addr{hole, refusing, living}) {
		t.Errorf("connected to %s after %v", got, tried)
	}
	if took := time.Since(began); took < attemptDelay || took > attemptDelay+3*time.Second {
		t.Errorf("took %v; want one delay of %v", took, attemptDelay)
	}

	// The preferred address may take long if no other is faster.
	tried = nil
	won, _, err = d.race(t.Context(), fixed(living, hole), port)
	if err != nil {
		t.Fatal(err)
	}
	_ = won.conn.Close()
	if len(tried) != 1 {
		t.Errorf("tried %v", tried)
	}

	// If no address answers, the error is that of the first.
	var step *transport.StepError
	if _, _, err = d.race(t.Context(), fixed(refusing, netip.MustParseAddr("127.9.0.4")),
		port); !errors.As(err, &step) ||
		step.Step != transport.StepTCP || !strings.Contains(err.Error(), "127.9.0.2") {
		t.Errorf("got %v", err)
	}
	failing := errors.New("no way there")
	d.Before = func(context.Context, netip.AddrPort) error { return failing }
	if _, _, err = d.race(t.Context(), fixed(living, hole), port); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
	d.Before = nil

	// The caller's end is the race's.
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(attemptDelay/2, func() { cancel(failing) })
	began = time.Now()
	if _, _, err = d.race(ctx, fixed(hole, refusing), port); !errors.Is(err, failing) ||
		time.Since(began) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}
