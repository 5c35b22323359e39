package ws_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"tunnel/packet"
	"tunnel/transport/fq"
	"tunnel/tun/tuntest"
)

// All that these tests know about how packets lie in a Batch and go through a Queue.

// ipPacket returns an IPv4 packet of n bytes, n ≥ 24, that carries id. Packets of one flow have the
// same source and destination. The protocol is one that is not segmented, coalesced or marked: 253,
// for experiments (RFC 3692).
func ipPacket(flow byte, id uint32, n int) []byte {
	p := make([]byte, n)
	p[0], p[8], p[9] = 0x45, 64, 253
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	copy(p[12:], []byte{10, 1, 1, 3, 10, 1, 1, flow})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	binary.BigEndian.PutUint32(p[20:], id)
	return p
}

// flowAndID returns what ipPacket was given.
func flowAndID(p []byte) (flow byte, id uint32) { return p[19], binary.BigEndian.Uint32(p[20:]) }

// queueLimit is room for all that these tests queue, in bytes of buffers.
const queueLimit = 64 << 20

// push gives a copy of an IP packet to a queue.
func push(q *fq.Queue, p []byte) {
	q.Push(tuntest.WithHeader(p))
	q.Flush()
}

// dropped returns how many packets a queue has dropped.
func dropped(q *fq.Queue) uint64 { return q.Drops().Full + q.Drops().CoDel }

// pop returns what a queue gives out at once.
func pop(q *fq.Queue) [][]byte {
	var b packet.Batch
	defer b.Reset()
	q.Pop(&b, packet.MaxBatch)
	return tuntest.PacketsOf(&b)
}

// samePackets compares IP packets in order.
func samePackets(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets; want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d is %s; want %s", i, short(got[i]), short(want[i]))
		}
	}
}

func short(p []byte) string { return fmt.Sprintf("%.40x (%d bytes)", p, len(p)) }
