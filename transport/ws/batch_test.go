package ws_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// errDevice is a failure of what is behind deliver.
var errDevice = errors.New("the device is gone")

// long is a keepalive that no test lives to see.
const long = time.Hour

func TestBatches(t *testing.T) {
	client, server := connected(t)
	a, b := run(t, client, long), run(t, server, long)
	up, down := [][]byte{}, [][]byte{}
	for i := range uint32(200) {
		up = append(up, ipPacket(1, i, 24+int(i)*7))
		down = append(down, ipPacket(2, i, 65535-int(i)))
	}
	for i := range up {
		push(a.queue, up[i])
	}
	samePackets(t, b.receive(t, len(up)), up)
	for _, p := range down { // no more at once than a queue holds
		push(b.queue, p)
		samePackets(t, a.receive(t, 1), [][]byte{p})
	}
}

// serving is the address of a server that is in its Run with every client that connects; results
// gets what each ended with.
func serving(t *testing.T, keepalive time.Duration, deliver func([][]byte)) (address string,
	results <-chan error) {
	t.Helper()
	ended := make(chan error, 10)
	return accepting(t, nil, func(c *ws.Conn) {
		_, err := c.Requested(t.Context(), packet.Offload{})
		if err == nil {
			err = c.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}}, granted(),
				packet.Offload{})
		}
		if err == nil {
			err = c.Run(t.Context(), fq.NewQueue(queueLimit), keepalive,
				func(b *packet.Batch) error {
					deliver(tuntest.PacketsOf(b))
					return nil
				})
		}
		ended <- err
	}), ended
}

// After connected, what is no batch of whole packets ends that connection with a reason, and no
// other.
func TestReadBatchRefuses(t *testing.T) {
	delivered := make(chan [][]byte, 1000)
	address, results := serving(t, long, func(packets [][]byte) { delivered <- packets })
	other := dialRaw(t, address)
	other.connect()
	good := ipPacket(1, 1, 60)
	badLength := slices.Clone(good)
	badLength[3] = 19 // less than its own header
	for name, test := range map[string]struct {
		send func(*raw)
		want string
	}{
		"a text":        {func(r *raw) { r.text(`{"state":"connected"}`) }, "unknown state"},
		"connect again": {func(r *raw) { r.text(connectText) }, "unknown state"},
		"an empty text": {func(r *raw) { r.text("") }, "unknown state"},
		"garbage":       {func(r *raw) { r.binary([]byte("hello")) }, "malformed record"},
		"a cut record":  {func(r *raw) { r.binary(good[:59]) }, "malformed record"},
		"a cut header":  {func(r *raw) { r.binary(good[:19]) }, "malformed record"},
		"a cut last record": {func(r *raw) { r.binary(append(slices.Clone(good), good[:30]...)) },
			"malformed record"},
		"bytes behind": {func(r *raw) { r.binary(append(slices.Clone(good), 0)) },
			"malformed record"},
		"a false length": {func(r *raw) { r.binary(badLength) }, "malformed record"},
		"a byte too " +
			"long": {
			func(r *raw) { r.binary(bytes.Repeat(good, packet.MaxBatch/60+1)[:packet.MaxBatch+1]) },
			"batch longer than"},
		"much too long": {func(r *raw) { r.binary(bytes.Repeat(good, 4*packet.MaxBatch/60)) },
			"batch longer than"},
		"too long in fragments": {func(r *raw) {
			for i := range 20 {
				first := byte(opContinuation)
				if i == 0 {
					first = opBinary
				}
				r.frame(first, bytes.Repeat(good, 1000))
			}
		}, "batch longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, address)
			r.connect()
			go test.send(r) // the server may not read it all
			code, reason := r.closed()
			if code != transport.CodeProtocol || !strings.HasPrefix(reason, test.want) {
				t.Errorf("told %d, %q; want %q", code, reason, test.want)
			}
			closedWith(t, <-results, code, test.want, false)
		})
	}
	for len(delivered) > 0 { // whole records that came before what was wrong
		for _, p := range <-delivered {
			samePackets(t, [][]byte{p}, [][]byte{good})
		}
	}
	other.binary(good)
	samePackets(t, <-delivered, [][]byte{good})
}

// The longest message that is allowed, from a peer that writes it as one. Its records are delivered
// as they come.
func TestLongestBatch(t *testing.T) {
	delivered := make(chan [][]byte, 1000)
	address, _ := serving(t, long, func(packets [][]byte) { delivered <- packets })
	r := dialRaw(t, address)
	r.connect()
	var want, got [][]byte
	for i := range uint32(8) {
		want = append(want, ipPacket(1, i, 60000))
	}
	want = append(want, ipPacket(1, 8, packet.MaxBatch-8*60000))
	r.binary(bytes.Join(want, nil))
	for len(got) < len(want) {
		got = append(got, <-delivered...)
	}
	samePackets(t, got, want)
}

// Packets that arrive together with the close frame after them are not lost.
func TestLastBatch(t *testing.T) {
	delivered := make(chan [][]byte, 10)
	address, results := serving(t, long, func(packets [][]byte) { delivered <- packets })
	r := dialRaw(t, address)
	r.connect()
	p := ipPacket(1, 1, 60)
	_, _ = r.conn.Write(append(r.bytes(fin|opBinary, p), r.bytes(fin|opClose, []byte{3, 232})...))
	closedWith(t, <-results, transport.CodeNormal, "", true)
	if len(delivered) != 1 {
		t.Fatal("the packet is lost")
	}
	samePackets(t, <-delivered, [][]byte{p})
}

// Empty batches are keepalives and are not delivered.
func TestEmptyBatch(t *testing.T) {
	delivered := make(chan [][]byte, 10)
	address, _ := serving(t, long, func(packets [][]byte) { delivered <- packets })
	r := dialRaw(t, address)
	r.connect()
	p := ipPacket(1, 1, 60)
	r.binary(nil)
	r.binary(nil)
	r.binary(p)
	samePackets(t, <-delivered, [][]byte{p})
}

// An error of deliver is that of Run.
func TestDeliverFails(t *testing.T) {
	client, server := connected(t)
	failed := make(chan error, 1)
	go func() {
		failed <- server.Run(t.Context(), fq.NewQueue(queueLimit), long, func(*packet.Batch) error {
			return errDevice
		})
	}()
	a := run(t, client, long)
	push(a.queue, ipPacket(1, 1, 60))
	if err := <-failed; err != errDevice { //nolint:errorlint // it shall come as it is
		t.Errorf("got %v", err)
	}
	if err := a.wait(t); err == nil {
		t.Error("the other side does not notice")
	}
}
