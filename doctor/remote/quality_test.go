package remote

import (
	"errors"
	"net"
	"testing"
	"time"

	"tunnel/doctor"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/frame"
)

// A message of the server is refused by its header, however long it says it is.
func TestMessageBeforeSession(t *testing.T) {
	for _, length := range []byte{0, 0x3f, 0x40} { // of 2^56 bytes each
		for _, opcode := range []byte{frame.OpBinary, frame.OpText, frame.OpContinuation} {
			g := &pinger{rest: []byte{frame.Final | opcode, 127, length, 0, 0, 0, 0, 0, 0, 0}}
			var violation frame.Violation
			if err := g.await(); !errors.As(err, &violation) { // without a connection to read from
				t.Errorf("opcode %d, %#x: %v", opcode, length, err)
			}
		}
	}
}

// A path is called slow before a server has waited 10 s for a session.
func TestSlow(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	small := make(chan int, 1)
	go func() { small <- answerSlowly(ln, slowTrip+slowTrip/2) }()
	plain, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tcp.New(plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := new(path)
	p.measure(t.Context(), conn, nil)
	_ = conn.Close()
	if len(p.found) != 1 || p.found[0].Problem != doctor.Slow {
		t.Errorf("%+v", p.found)
	}
	if n := <-small; n == 0 || n > 3 {
		t.Errorf("%d round trips of 1.5 s", n)
	}
}

// answerSlowly answers the pings of one connection until it ends, each small one after a delay, and
// returns how many of those there were.
func answerSlowly(ln net.Listener, delay time.Duration) (small int) {
	conn, err := ln.Accept()
	if err != nil {
		return 0
	}
	defer func() { _ = conn.Close() }()
	var rest []byte
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return small
		}
		rest = append(rest, buffer[:n]...)
		for {
			h, err := frame.Parse(rest, true)
			if err != nil || h.Length == 0 || len(rest) < h.Length+int(h.Payload) {
				break
			}
			body := rest[h.Length : h.Length+int(h.Payload)]
			rest = rest[h.Length+int(h.Payload):]
			frame.Mask(body, h.Key, 0)
			if len(body) == 8 {
				small++
				time.Sleep(delay)
			}
			if _, err := conn.Write(frame.Append(nil, frame.OpPong, body, false)); err != nil {
				return small
			}
		}
	}
}
