package e2e

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"tunnel/e2e/hostile"
)

// receives returns the IP packets that arrive within d at a rawSession with framing ip.
func (s *rawSession) receives(d time.Duration) (packets [][]byte) {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(d))
	for {
		var head [8]byte
		if _, err := io.ReadFull(s.r, head[:2]); errors.Is(err, os.ErrDeadlineExceeded) {
			return packets
		} else if err != nil {
			s.t.Fatalf("the server has hung up: %v", err)
		}
		opcode, n := head[0]&0xf, uint64(head[1])
		switch n {
		case 126:
			_, _ = io.ReadFull(s.r, head[:2])
			n = uint64(binary.BigEndian.Uint16(head[:2]))
		case 127:
			_, _ = io.ReadFull(s.r, head[:8])
			n = binary.BigEndian.Uint64(head[:8])
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(s.r, payload); err != nil {
			s.t.Fatal(err)
		}
		for opcode == hostile.OpBinary && len(payload) > 20 {
			length := min(int(binary.BigEndian.Uint16(payload[2:])), len(payload))
			packets = append(packets, payload[:max(length, 20)])
			payload = payload[max(length, 20):]
		}
	}
}

// A client asks for checksum completion at offsets of the source address, the total length and the
// destination. The server forwards only packets that are unchanged since its checks. A super-packet
// with one byte per segment must not make the server send a hundred times what it received.
func TestForgedChecksumOffset(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--client-to-client")
	victim, attacker := dialSession(t, clients[0], "ip"), dialSession(t, clients[1], "vnet")
	record := func(flags, gso byte, size, start, offset int, ip []byte) []byte {
		r := make([]byte, 10, 10+len(ip))
		r[0], r[1] = flags, gso
		for i, v := range []int{0, size, start, offset} {
			binary.LittleEndian.PutUint16(r[2+2*i:], uint16(v))
		}
		return append(r, ip...)
	}
	send := func(r []byte) {
		if !attacker.write(hostile.Frame(hostile.Fin|hostile.OpBinary, r)) {
			t.Fatal("the server has hung up because of a virtio header, which is to be dropped")
		}
	}
	own := func(n int) []byte { return echoRequest(t, attacker.address, victim.address, n) }
	send(record(1, 0, 0, 0, 14, own(100))) // over the source
	send(record(1, 0, 0, 2, 0, own(100)))  // over the total length
	send(record(1, 0, 0, 8, 8, own(100)))  // over the destination
	fragment := own(100)
	fragment[7], fragment[9] = 10, 17
	send(record(1, 0, 0, 20, 6, fragment)) // over the payload of a later fragment
	super := own(60_000)
	super[9], super[32] = 6, 0x50
	send(record(1, 1, 1, 20, 16, super)) // a TCP segment for each byte
	send(record(0, 0, 0, 0, 0, own(7)))  // a sound packet
	deadline, sent := time.Now().Add(soon), 0
	for last := false; !last; {
		for _, p := range victim.receives(100 * time.Millisecond) {
			sent += len(p)
			if from := net.IP(p[12:16]).String(); from != attacker.address {
				t.Errorf("a packet with the source %s arrives, of a client that is %s: %x", from,
					attacker.address, p[:min(len(p), 40)])
			}
			last = last || len(p) == 28+7
		}
		if time.Now().After(deadline) {
			t.Fatal("the honest packet does not arrive")
		}
	}
	if sent != 28+7 {
		t.Errorf("%d bytes arrive; only the honest packet should", sent)
	}
	if srv.Exited() {
		t.Error("the server has ended")
	}
}
