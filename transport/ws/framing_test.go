package ws_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// offering serves connections with a device of this offload. What is in batches goes to each client
// that connects, as one batch each; what clients send goes to deliver.
func offering(t *testing.T, own packet.Offload, deliver func([][]byte),
	batches ...[]*packet.Packet) string {
	t.Helper()
	return accepting(t, nil, func(c *ws.Conn) {
		request, err := c.Requested(t.Context(), own)
		if err != nil {
			return
		}
		if err := c.Grant(t.Context(), request, granted(), own); err != nil {
			t.Error(err)
		}
		for _, records := range batches {
			var b packet.Batch
			for _, p := range records {
				b.Add(p)
			}
			if err := c.WriteBatch(&b); err != nil {
				t.Error(err)
			}
			b.Reset()
		}
		_ = c.Run(t.Context(), fq.NewQueue(queueLimit), long, func(b *packet.Batch) error {
			deliver(tuntest.PacketsOf(b))
			return nil
		})
	})
}

// connectAs goes to connected with these framings, and returns the one that the server has chosen.
func (r *raw) connectAs(framings []string, uso bool) string {
	r.t.Helper()
	text, err := json.Marshal(map[string]any{"state": "connect", "version": 1, "framings": framings,
		"uso": uso})
	if err != nil {
		r.t.Fatal(err)
	}
	r.text(string(text))
	var answer struct {
		Framing string
		USO     bool
	}
	if err := json.Unmarshal(r.until(opText), &answer); err != nil {
		r.t.Fatal(err)
	}
	if answer.USO && answer.Framing != "vnet" {
		r.t.Errorf("UDP super-packets are taken with framing %s", answer.Framing)
	}
	return answer.Framing
}

// The framing is the client's first wish that the server can fulfil, and both keep to it.
func TestFramings(t *testing.T) {
	kernel := packet.Offload{Vnet: true, USO: true}
	for _, test := range []struct {
		own      packet.Offload
		framings []string
		want     string // "" for a refusal
	}{
		{kernel, []string{"vnet", "ip"}, "vnet"},
		{kernel, []string{"ip"}, "ip"},
		{kernel, []string{"ip", "vnet"}, "ip"},
		{kernel, []string{"pigeon", "vnet"}, "vnet"},
		{packet.Offload{}, []string{"vnet", "ip"}, "ip"},
		{packet.Offload{}, []string{"vnet"}, ""},
		{kernel, []string{"VNET"}, ""},
		{kernel, nil, ""},
	} {
		t.Run(fmt.Sprint(test.own, test.framings), func(t *testing.T) {
			ip := ipPacket(1, 1, 60)
			delivered := make(chan [][]byte, 1)
			r := dialRaw(t, offering(t, test.own, func(p [][]byte) { delivered <- p },
				[]*packet.Packet{tuntest.WithHeader(ip)}))
			if test.want == "" {
				r.text(fmt.Sprintf(`{"state":"connect","version":1,"framings":%s}`,
					list(test.framings)))
				if code, reason := r.closed(); code != transport.CodeProtocol {
					t.Errorf("told %d, %q", code, reason)
				}
				return
			}
			if got := r.connectAs(test.framings, false); got != test.want {
				t.Fatalf("framing %s; want %s", got, test.want)
			}
			want := ip
			if test.want == "vnet" {
				want = append(make([]byte, packet.HeaderLen), ip...)
			}
			if got := r.until(opBinary); !bytes.Equal(got, want) {
				t.Errorf("got %s; want %s", short(got), short(want))
			}
			r.binary(want)
			samePackets(t, <-delivered, [][]byte{ip})
		})
	}
}

func list(s []string) string {
	text, _ := json.Marshal(s) // strings always can
	return string(text)
}

// superPacket returns TCP or UDP with so many bytes of payload, to be cut into pieces of size
// bytes.
func superPacket(protocol byte, payload, size int) *packet.Packet {
	header, gso, checksum := 20, byte(1), uint16(16)
	if protocol == 17 {
		header, gso, checksum = 8, 5, 6
	}
	p := packet.NewPacket(packet.HeaderLen + 20 + header + payload)
	packet.Header{
		Flags: 1, GSOType: gso, HeaderLength: uint16(20 + header), GSOSize: uint16(size),
		ChecksumStart: 20, ChecksumOffset: checksum,
	}.Put(p.Record())
	ip := p.IP()
	clear(ip)
	copy(ip, ipPacket(1, 0, len(ip))[:20])
	ip[9] = protocol
	if protocol == 6 {
		ip[32] = 5 << 4 // the header's length
	}
	for i := range payload {
		ip[20+header+i] = byte(i * 7)
	}
	return p
}

// recordsIn splits a message.
func recordsIn(t *testing.T, message []byte, header int) (records [][]byte) {
	t.Helper()
	for len(message) > 0 {
		n, err := packet.Length(message[header:])
		if err != nil {
			t.Fatalf("%v: %s", err, short(message))
		}
		records = append(records, message[:header+n])
		message = message[header+n:]
	}
	return records
}

// A super-packet goes as it is to a peer that takes it; for others it is cut here.
func TestSuperPackets(t *testing.T) {
	const payload, size = 5000, 1200
	for _, test := range []struct {
		framing  string
		uso      bool
		tcp, udp int // records that arrive
	}{
		{"vnet", true, 1, 1},
		{"vnet", false, 1, 5},
		{"ip", false, 5, 5},
		{"ip", true, 5, 5},
	} {
		for protocol, want := range map[byte]int{6: test.tcp, 17: test.udp} {
			t.Run(fmt.Sprint(test.framing, test.uso, protocol), func(t *testing.T) {
				sent := superPacket(protocol, payload, size)
				whole := slices.Clone(sent.Record())
				r := dialRaw(t, offering(t, packet.Offload{Vnet: true, USO: true}, nil,
					[]*packet.Packet{sent}))
				r.connectAs([]string{test.framing}, test.uso)
				header := 0
				if test.framing == "vnet" {
					header = packet.HeaderLen
				}
				records := recordsIn(t, r.until(opBinary), header)
				if len(records) != want {
					t.Fatalf("%d records; want %d", len(records), want)
				}
				if want == 1 {
					if !bytes.Equal(records[0], whole) {
						t.Errorf("got %s; want %s", short(records[0]), short(whole))
					}
					return
				}
				headers := map[byte]int{6: 40, 17: 28}[protocol]
				var got []byte
				for _, record := range records {
					ip := record[header:]
					if len(ip) > headers+size ||
						!bytes.Equal(record[:header], make([]byte, header)) ||
						checksum(ip[:20], 0) != 0 ||
						checksum(ip[20:], pseudo(ip)) != 0 {
						t.Errorf("record %x", record[:header+headers])
					}
					got = append(got, ip[headers:]...)
				}
				if !bytes.Equal(got, whole[packet.HeaderLen+headers:]) {
					t.Errorf("the payload is %s", short(got))
				}
			})
		}
	}
}

// checksum computes the checksum of RFC 1071; 0 is valid.
func checksum(p []byte, sum uint32) uint16 {
	for ; len(p) > 1; p = p[2:] {
		sum += uint32(binary.BigEndian.Uint16(p))
	}
	if len(p) > 0 {
		sum += uint32(p[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// pseudo is the sum of the pseudo header of an IPv4 packet.
func pseudo(ip []byte) (sum uint32) {
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	return sum + uint32(ip[9]) + uint32(len(ip)-20)
}

// A batch that grows while it is cut, because every piece has headers of its own, goes out as
// several messages.
func TestLongBatchIsSplit(t *testing.T) {
	const payload, size, packets = 64000, 16, 6
	var batch []*packet.Packet
	for range packets {
		batch = append(batch, superPacket(6, payload, size))
	}
	r := dialRaw(t, offering(t, packet.Offload{Vnet: true}, nil, batch))
	r.connectAs([]string{"ip"}, false)
	messages, got := 0, 0
	for got < packets*payload/size {
		message := r.until(opBinary)
		if len(message) == 0 || len(message) > packet.MaxBatch {
			t.Fatalf("message of %d bytes", len(message))
		}
		messages++
		got += len(recordsIn(t, message, 0))
	}
	if got != packets*payload/size || messages < 2 {
		t.Errorf("%d packets in %d messages", got, messages)
	}
}

// A client masks each frame, with a key of its own, whatever its length (RFC 6455 section 5.3).
func TestMasking(t *testing.T) {
	sizes := []int{24, 25, 124, 125, 126, 127, 4095, 4096, 4097, 65534, 65535}
	var want [][]byte
	for i, n := range sizes {
		want = append(want, ipPacket(1, uint32(i), n))
	}
	address := serveRaw(t, func(r *raw) {
		r.until(opText)
		r.text(connectedText)
		keys := map[string]bool{}
		for _, w := range append(want, bytes.Join(want, nil)) {
			head, err := r.in.Peek(14)
			if err != nil || head[0] != fin|opBinary || head[1]&0x80 == 0 {
				t.Errorf("frame begins with %x, %v", head, err)
				return
			}
			at := 2 + map[byte]int{126: 2, 127: 8}[head[1]&0x7f]
			keys[string(head[at:at+4])] = true
			if _, got, err := r.next(); err != nil || !bytes.Equal(got, w) {
				t.Errorf("got %s, %v; want %s", short(got), err, short(w))
			}
		}
		if len(keys) != len(want)+1 {
			t.Errorf("%d keys for %d frames", len(keys), len(want)+1)
		}
		r.closed()
	})
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil {
		t.Fatal(err)
	}
	var all packet.Batch
	for _, w := range want {
		var b packet.Batch
		b.Add(tuntest.WithHeader(w))
		all.Add(tuntest.WithHeader(w))
		if err := c.WriteBatch(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WriteBatch(&all); err != nil {
		t.Fatal(err)
	}
	c.Close(transport.CodeNormal, "done")
}
