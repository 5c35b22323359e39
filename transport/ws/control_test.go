package ws_test

import (
	"bytes"
	"fmt"
	"testing"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/ws"
)

// flood keeps a queue full until stop is closed.
func flood(queue *fq.Queue, stop <-chan struct{}) {
	for i := uint32(1); ; i++ {
		select {
		case <-stop:
			return
		default:
			push(queue, ipPacket(byte(i%5), i, 24+int(i*131%30000)))
		}
	}
}

// pingThrough pings a peer that floods us, and checks that every frame is whole: batches are
// written beside the library that writes the pongs.
func (r *raw) pingThrough() {
	const pings = 100
	go func() {
		for i := range pings {
			r.frame(fin|opPing, fmt.Appendf(nil, "ping %d", i))
		}
	}()
	for next := 0; next < pings; {
		opcode, payload, err := r.next()
		switch {
		case err != nil:
			r.t.Errorf("after %d pongs: %v", next, err)
			return
		case opcode == opPong:
			if want := fmt.Appendf(nil, "ping %d", next); !bytes.Equal(payload, want) {
				r.t.Errorf("pong %q; want %q", payload, want)
				return
			}
			next++
		case opcode == opBinary:
			recordsIn(r.t, payload, 0)
		default:
			r.t.Errorf("opcode %x", opcode)
			return
		}
	}
}

func TestPingsThroughServersBatches(t *testing.T) {
	queue, stop := fq.NewQueue(1<<20), make(chan struct{})
	ended := make(chan error, 1)
	address := accepting(t, nil, func(c *ws.Conn) {
		request, err := c.Requested(t.Context(), packet.Offload{})
		if err == nil {
			err = c.Grant(t.Context(), request, granted(), packet.Offload{})
		}
		if err == nil {
			err = c.Run(t.Context(), queue, long, func(*packet.Batch) error { return nil })
		}
		ended <- err
	})
	r := dialRaw(t, address)
	r.connect()
	go flood(queue, stop)
	r.pingThrough()
	close(stop)
	// The close frame goes between whole frames as well.
	r.close(transport.CodeNormal, "enough")
	r.until(opClose)
	closedWith(t, <-ended, transport.CodeNormal, "enough", true)
}

func TestPingsThroughClientsBatches(t *testing.T) {
	stop := make(chan struct{})
	address := serveRaw(t, func(r *raw) {
		r.until(opText)
		r.text(connectedText)
		r.pingThrough()
		close(stop)
		r.close(transport.CodeGoingAway, "enough")
		r.until(opClose)
	})
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil {
		t.Fatal(err)
	}
	r := run(t, c, long)
	go flood(r.queue, stop)
	closedWith(t, r.wait(t), transport.CodeGoingAway, "enough", true)
}
