package ws_test

import (
	"bytes"
	"errors"
	"testing"

	"tunnel/packet"
	"tunnel/transport"
)

// fragments writes a message one piece of size bytes a frame, with a ping before, between and
// behind them, and empty fragments where they are allowed; it returns the pings' payloads.
func (r *raw) fragments(opcode byte, message []byte, size int) (pings [][]byte) {
	ping := func(i int) {
		p := []byte{'p', byte(i)}
		pings = append(pings, p)
		r.frame(fin|opPing, p)
	}
	ping(0)
	first := opcode
	for i := 1; len(message) > 0; i++ {
		n := min(size, len(message))
		r.frame(first, message[:n])
		first, message = opContinuation, message[n:]
		r.frame(opContinuation, nil)
		ping(i)
	}
	r.frame(fin|first, nil)
	r.frame(fin|opPong, []byte("nobody asked"))
	return pings
}

// pongs reads the answers to pings.
func (r *raw) pongs(pings [][]byte) {
	r.t.Helper()
	for _, want := range pings {
		if got := r.until(opPong); !bytes.Equal(got, want) {
			r.t.Errorf("pong %q; want %q", got, want)
		}
	}
}

// Intermediaries may fragment messages and put control frames between (RFC 6455 section 5.4).
func TestFragmentsToServer(t *testing.T) {
	delivered := make(chan [][]byte, 10)
	address, _ := serving(t, long, func(packets [][]byte) { delivered <- packets })
	r := dialRaw(t, address)
	pings := r.fragments(opText, []byte(connectText), 1)
	r.pongs(pings)
	r.until(opText)
	want := [][]byte{ipPacket(1, 1, 60), ipPacket(1, 2, 61), ipPacket(2, 3, 1400)}
	for _, size := range []int{7, 60, 1000, 5000} {
		pings := r.fragments(opBinary, bytes.Join(want, nil), size)
		var got [][]byte
		for len(got) < len(want) {
			got = append(got, <-delivered...)
		}
		samePackets(t, got, want)
		r.pongs(pings)
	}
}

func TestFragmentsToClient(t *testing.T) {
	want := [][]byte{ipPacket(1, 1, 60), ipPacket(1, 2, 61), ipPacket(2, 3, 1400)}
	answered := make(chan struct{})
	address := serveRaw(t, func(r *raw) {
		r.until(opText)
		r.pongs(r.fragments(opText, []byte(connectedText), 3))
		r.pongs(r.fragments(opBinary, bytes.Join(want, nil), 50))
		close(answered)
		r.closed()
	})
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil {
		t.Fatal(err)
	}
	r := run(t, c, long)
	samePackets(t, r.receive(t, len(want)), want)
	<-answered // records come before the end of their message, and behind that is another ping
}

// A message in fragments of one byte that come in one segment or each in its own.
func TestBytewise(t *testing.T) {
	delivered := make(chan [][]byte, 1)
	address, _ := serving(t, long, func(packets [][]byte) { delivered <- packets })
	r := dialRaw(t, address)
	r.connect()
	p := ipPacket(1, 1, 60)
	for _, b := range r.bytes(fin|opBinary, p) {
		if _, err := r.conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	samePackets(t, <-delivered, [][]byte{p})
}

// A violation of RFC 6455 ends that connection.
func TestBadFrames(t *testing.T) {
	address, results := serving(t, long, func([][]byte) {})
	p := ipPacket(1, 1, 60)
	for name, send := range map[string]func(*raw){
		"unmasked":                func(r *raw) { r.masked = false; r.binary(p) },
		"reserved bits":           func(r *raw) { r.frame(fin|0x40|opBinary, p) },
		"unknown opcode":          func(r *raw) { r.frame(fin|0x3, p) },
		"unknown control opcode":  func(r *raw) { r.frame(fin|0xb, nil) },
		"continuation of nothing": func(r *raw) { r.frame(fin|opContinuation, p) },
		"a message in a message": func(r *raw) {
			r.frame(opBinary,
				p[:30])
			r.frame(fin|opBinary, p)
		},
		"fragmented ping":             func(r *raw) { r.frame(opPing, nil) },
		"long ping":                   func(r *raw) { r.frame(fin|opPing, make([]byte, 126)) },
		"half a code":                 func(r *raw) { r.frame(fin|opClose, []byte{3}) },
		"a code that nobody may send": func(r *raw) { r.close(1005, "") },
		"a length of 2^63": func(r *raw) {
			_, _ = r.conn.Write([]byte{fin | opBinary, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, address)
			r.connect()
			send(r)
			if err := <-results; err == nil || errors.Is(err, transport.ErrSilent) {
				t.Errorf("ended with %v", err)
			}
			for { // hung up, perhaps after a close frame
				if _, _, err := r.next(); err != nil {
					break
				}
			}
		})
	}
}

// A peer that leaves without a code, and one that is cut off within a frame.
func TestLeaving(t *testing.T) {
	address, results := serving(t, long, func([][]byte) {})
	r := dialRaw(t, address)
	r.connect()
	r.frame(fin|opClose, nil)
	closedWith(t, <-results, 1005, "no reason given", true)

	for name, last := range map[string][]byte{
		"between frames": nil, "in a header": {fin | opBinary}, "in a payload": {fin | opBinary,
			0x80 | 60, 1, 2, 3, 4, 0x45},
	} {
		r := dialRaw(t, address)
		r.connect()
		_, _ = r.conn.Write(last)
		_ = r.conn.Close()
		if err := <-results; !errors.Is(err, transport.ErrHungUp) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The close reason of a peer is safe to print in one line of a log or a terminal.
func TestReasonIsOneLine(t *testing.T) {
	address, results := serving(t, long, func([][]byte) {})
	r := dialRaw(t, address)
	r.connect()
	r.close(transport.CodeNormal, "bye\nup: dev tun0\x1b[31m\xff")
	err := <-results
	closedWith(t, err, transport.CodeNormal, "bye", true)
	for _, c := range []byte("\n\x1b\xff") {
		if bytes.IndexByte([]byte(err.Error()), c) >= 0 {
			t.Errorf("%q has byte %#x", err, c)
		}
	}
}
