package ws

import (
	"bytes"
	"slices"
	"testing"

	"tunnel/packet"
	"tunnel/transport/fq"
	"tunnel/transport/ws/frame"
)

// maxWaiting is the most bytes that an input keeps of what came before.
const maxWaiting = packet.HeaderLen + packet.MaxPacket + 14 + frame.MaxControlBody

// takeAll gives bytes to an input in pieces, and returns the packets in them, the pings, and
// whether they broke the protocol.
func takeAll(p []byte, piece int, framing packet.Framing) (packets, pings [][]byte, broken bool) {
	in := &input{masked: true, idle: newControls(),
		pong: func(body []byte) { pings = append(pings, bytes.Clone(body)) }}
	defer in.close()
	in.queue = fq.NewBudget(2).NewQueue(0)
	in.queue.Hold(2) // short
	for len(p) > 0 {
		n := min(piece, len(p))
		in.end += copy(in.room(), p[:n])
		p = p[n:]
		var b packet.Batch
		err := in.take(&b, framing)
		for i := range b.Len() {
			packets = append(packets, bytes.Clone(b.IP(i)))
		}
		if err != nil {
			return packets, pings, true
		}
		if in.shrink(); in.buf != nil || len(in.few) > n+maxWaiting {
			panic("a buffer waits that is larger than what is in it")
		}
		in.charge()
		in.refund()
	}
	return packets, pings, false
}

// FuzzInput: whatever a client sends, and in whatever pieces it comes, the same comes out, and
// nothing that was not there.
func FuzzInput(f *testing.F) {
	var b packet.Batch
	for port := range uint16(5) {
		b.Add(datagramFrom(port, 60+int(port)))
	}
	message := whole(&b, true)
	b.Reset()
	f.Add(message, 7, true)
	f.Add(frame.Append(bytes.Clone(message), frame.OpPing, []byte("ping"), true), 1, true)
	f.Add(frame.Append(nil, frame.OpClose, []byte{3, 232, 'x'}, true), 3, false)
	f.Add([]byte{frame.OpBinary, frame.MaskBit | 1, 0, 0, 0, 0, 0x45, frame.OpPing | frame.Final,
		frame.MaskBit, 0, 0, 0, 0, frame.Final, frame.MaskBit | 1, 0, 0, 0, 0, 0}, 2, false)
	f.Add([]byte{frame.Final | frame.OpBinary, frame.MaskBit | 127, 0, 0, 0, 0, 0, 8, 0, 1, 0, 0, 0,
		0}, 5, true)
	f.Add([]byte{frame.Final | frame.OpText, frame.MaskBit, 0, 0, 0, 0}, 5, true)
	f.Fuzz(func(t *testing.T, data []byte, piece int, vnet bool) {
		if len(data) > inputRoom/2 {
			return
		}
		framing := packet.FramingIP
		if vnet {
			framing = packet.FramingVnet
		}
		packets, pings, broken := takeAll(data, len(data), framing)
		sum := 0
		for _, p := range packets {
			sum += len(p)
		}
		if sum > len(data) {
			t.Errorf("%d bytes of packets in %d", sum, len(data))
		}
		inPieces, pingsInPieces, brokenInPieces := takeAll(data, 1+(piece&0xffff), framing)
		if broken != brokenInPieces || len(pings) != len(pingsInPieces) {
			t.Fatalf("whole: broken %v, %d pings; in pieces: broken %v, %d pings", broken,
				len(pings), brokenInPieces, len(pingsInPieces))
		}
		if !slices.EqualFunc(packets, inPieces, bytes.Equal) {
			t.Fatalf("%d packets; %d others in pieces", len(packets), len(inPieces))
		}
	})
}
