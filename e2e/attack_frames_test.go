package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// frameAttack is one way to violate RFC 6455.
type frameAttack struct {
	name string
	do   func(r *rand.Rand, s *rawSession)
	cut  bool // the server has to end the connection
}

// frameAttacks returns the attacks that WebSocket libraries cannot send; TestHostileClients has the
// others.
func frameAttacks(victim string) []frameAttack {
	send := func(data []byte) func(*rand.Rand, *rawSession) {
		return func(_ *rand.Rand, s *rawSession) { s.write(data) }
	}
	packet := func(s *rawSession, from, to string) []byte { return echoRequest(s.t, from, to, 100) }
	return []frameAttack{
		{"garbage", func(r *rand.Rand, s *rawSession) {
			s.write(append([]byte{0xff, 0xff}, noise(r, 1+r.IntN(64<<10))...))
		}, true},
		{"reserved bits", send(hostile.Frame(hostile.Fin|0x70|hostile.OpBinary, nil)), true},
		{"an unknown opcode", send(hostile.Frame(hostile.Fin|0x3, nil)), true},
		{"an unknown control opcode", send(hostile.Frame(hostile.Fin|0xb, nil)), true},
		{"no mask", send(append(hostile.FrameHead(hostile.Fin|hostile.OpBinary, 0, 100),
			make([]byte, 100)...)), true},
		{"2⁶³ bytes and more", send(hostile.FrameHead(hostile.Fin|hostile.OpBinary, hostile.Masked,
			1<<63|5)), true},
		{"2⁶² bytes", func(_ *rand.Rand, s *rawSession) {
			sendRepeated(s, hostile.FrameHead(hostile.Fin|hostile.OpBinary, hostile.Masked, 1<<62),
				make([]byte, 64<<10), 64)
		}, true},
		{"one byte over the limit", send(hostile.Frame(hostile.Fin|hostile.OpBinary,
			make([]byte, 512<<10+1))), true},
		{"a large text", send(hostile.Frame(hostile.Fin|hostile.OpText, make([]byte, 1<<20))), true},
		{"a long ping", send(hostile.Frame(hostile.Fin|hostile.OpPing, make([]byte, 126))), true},
		{"a fragmented ping", send(hostile.Frame(hostile.OpPing, nil)), true},
		{"a continuation of nothing", send(hostile.Frame(hostile.Fin|hostile.OpContinue, nil)), true},
		{"a message inside a fragmented one", send(append(hostile.Frame(hostile.OpBinary, nil),
			hostile.Frame(hostile.Fin|hostile.OpBinary, nil)...)), true},
		{"an endless fragmented message", func(_ *rand.Rand, s *rawSession) {
			fragment := hostile.Frame(hostile.OpContinue, make([]byte, 1000))
			sendRepeated(s, hostile.Frame(hostile.OpBinary, nil), fragment, 600)
		}, true},
		{"a close of one byte", send(hostile.Frame(hostile.Fin|hostile.OpClose, []byte{3})), true},
		{"a close with a bad code", send(hostile.Frame(hostile.Fin|hostile.OpClose,
			[]byte{0, 1, 0xff, 0xfe})), true},
		{"ten thousand empty fragments", func(_ *rand.Rand, s *rawSession) {
			empty := hostile.Frame(hostile.OpContinue, nil)
			sendRepeated(s, hostile.Frame(hostile.OpBinary, nil), empty, 10_000)
		}, false},
		{"ten thousand pings, pongs not read", func(_ *rand.Rand, s *rawSession) {
			sendRepeated(s, nil, hostile.Frame(hostile.Fin|hostile.OpPing, make([]byte, 125)), 10_000)
		}, false},
		{"half a frame, then closed", func(r *rand.Rand, s *rawSession) {
			f := hostile.Frame(hostile.Fin|hostile.OpBinary, packet(s, s.address, "10.1.1.1"))
			s.write(f[:1+r.IntN(len(f)-1)])
			_ = s.conn.Close()
		}, false},
		{"half a frame, then idle", func(_ *rand.Rand, s *rawSession) {
			s.write(hostile.FrameHead(hostile.Fin|hostile.OpBinary, hostile.Masked, 400<<10))
			s.write(make([]byte, 1000))
		}, true}, // ended by the keepalive
		{"foreign sources", func(r *rand.Rand, s *rawSession) {
			for range 200 {
				from := []string{
					victim, "10.1.1.1", "127.0.0.1", "255.255.255.255",
					fmt.Sprintf("10.1.1.%d", r.IntN(256)),
				}[r.IntN(5)]
				to := []string{victim, "10.1.1.1", "127.0.0.1", "224.0.0.1", "10.1.1.255"}[r.IntN(5)]
				if from != s.address {
					s.write(hostile.Frame(hostile.Fin|hostile.OpBinary, packet(s, from, to)))
				}
			}
		}, false},
		{"random packets", func(r *rand.Rand, s *rawSession) {
			for range 200 {
				p := noise(r, 20+r.IntN(1500))
				p[0] = 0x45
				binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
				copy(p[12:], packet(s, s.address, "10.1.1.1")[12:20])
				s.write(hostile.Frame(hostile.Fin|hostile.OpBinary, p))
			}
		}, false},
	}
}

// vnetNoise sends packets with random virtio_net_hdrs. Those that pass the server's checks reach
// the kernel.
func vnetNoise(r *rand.Rand, s *rawSession) {
	for range 2000 {
		p := noise(r, 10+28+r.IntN(3000))
		header, ip := p[:10], p[10:]
		if r.IntN(4) > 0 { // close to the limits of the checks
			header[0] = byte(r.IntN(4))
			header[1] = []byte{0, 1, 3, 4, 5, 0x81, 0x84}[r.IntN(7)]
			for i, v := range []int{r.IntN(80), r.IntN(2000), 20 + r.IntN(2), []int{6, 16}[r.IntN(2)]} {
				binary.LittleEndian.PutUint16(header[2+2*i:], uint16(v))
			}
		}
		ip[0], ip[6], ip[7], ip[9] = 0x45, 0, 0, []byte{47, 6, 17}[r.IntN(3)]
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		copy(ip[12:], echoRequest(s.t, s.address, "10.1.1.1", 0)[12:20])
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], hostile.Checksum(ip[:20]))
		if len(ip) > 33 && r.IntN(2) == 0 {
			ip[32] = 0x50 // a TCP header without options
		}
		if !s.write(hostile.Frame(hostile.Fin|hostile.OpBinary, p)) {
			s.t.Error("the server has hung up because of a virtio header, which is to be dropped")
			return
		}
	}
}

// sendRepeated sends first, and then rest up to n times, until the connection breaks.
func sendRepeated(s *rawSession, first, rest []byte, n int) {
	s.write(first)
	for range n {
		if !s.write(rest) {
			return
		}
	}
}

// A client sends malformed frames during another client's transfer. The transfer never stalls, no
// packet with a foreign source arrives anywhere, and the server, built with the race detector,
// keeps running.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	server, clients := star(t, 2)
	bin := raceBuild(t)
	srv := bin.serve(t, server, "--plain", "--client-to-client", "--ping-interval", "2s")
	good := bin.connect(t, clients[0], directURL)
	x := startExchange(t, clients[0], server, "10.1.1.1")
	x.flows(soon)
	pings := [2]int{echoesSeen(t, server), echoesSeen(t, clients[0])}

	all := frameAttacks(addressOf(0))
	for _, i := range r.Perm(len(all)) {
		h := all[i]
		s := dialSession(t, clients[1], "ip")
		h.do(r, s)
		if h.cut {
			if err := s.cut(); err != nil {
				t.Errorf("%s: the server keeps the connection: %v", h.name, err)
			}
		}
		_ = s.conn.Close()
		x.flows(soon)
	}
	vnetNoise(r, dialSession(t, clients[1], "vnet"))

	// A client that does not read while the server has much to send costs the others nothing.
	nonReader := dialSession(t, clients[1], "ip")
	flood(t, server, nonReader.address)
	x.flows(soon)
	httpGarbage(t, r, clients[1])

	x.finish()
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the other client lost its connection:\n%s", good.Stderr())
	}
	if now := [2]int{echoesSeen(t, server), echoesSeen(t, clients[0])}; now != pings {
		t.Errorf("echo requests with a foreign source arrived: at the server %d, at the client %d",
			now[0]-pings[0], now[1]-pings[1])
	}
	if srv.Exited() {
		t.Error("the server has ended")
	}
}

// httpGarbage sends malformed and incomplete HTTP requests to the server's port.
func httpGarbage(t *testing.T, r *rand.Rand, h *lab.Host) {
	t.Helper()
	for _, text := range [][]byte{
		noise(r, 5000), []byte("GET"), []byte("GET /ws HTTP/1.1\r\n"),
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		append([]byte("GET /ws HTTP/1.1\r\nX: "), make([]byte, 100_000)...),
		[]byte("POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"),
		[]byte("GET /ws HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
	} {
		conn, err := h.DialContext(t.Context(), "tcp", directServer+":8443")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(text)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}
