package ws_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
)

// beat is a keepalive that a test can see many of, and a busy machine can keep.
const beat = time.Second

// An idle pair stays connected.
func TestIdleStays(t *testing.T) {
	t.Parallel()
	client, server := connected(t)
	a, b := run(t, client, beat), run(t, server, beat)
	select {
	case <-a.ended:
		t.Errorf("the client's end: %v", a.err)
	case <-b.ended:
		t.Errorf("the server's end: %v", b.err)
	case <-time.After(6 * beat):
	}
	p := ipPacket(1, 1, 60)
	push(a.queue, p)
	samePackets(t, b.receive(t, 1), [][]byte{p})
}

// An idle side sends an empty batch about once an interval.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	const beats = 6
	address, results := serving(t, beat, func([][]byte) {})
	r := dialRaw(t, address)
	r.connect()
	began := time.Now()
	for range beats {
		if got := r.until(opBinary); len(got) != 0 {
			t.Errorf("an idle server sends %s", short(got))
		}
		r.binary(nil)
	}
	if took := time.Since(began); took < beats/2*beat {
		t.Errorf("%d heartbeats within %v", beats, took)
	}
	r.close(transport.CodeNormal, "enough")
	closedWith(t, <-results, transport.CodeNormal, "enough", true)
}

// A silent peer is given up within two keepalive intervals, and not before one.
func TestSilence(t *testing.T) {
	t.Parallel()
	address, results := serving(t, beat, func([][]byte) {})
	r := dialRaw(t, address)
	r.connect()
	r.binary(nil)
	began := time.Now()
	err := <-results
	if took := time.Since(began); !errors.Is(err, transport.ErrSilent) || took < beat ||
		took > 5*beat {
		t.Errorf("%v after %v", err, took)
	}
}

// One that does not read either, so that our own writes hang, is no different.
func TestSilenceOfStuckPeer(t *testing.T) {
	t.Parallel()
	client, server := connected(t)
	_ = client // which never reads
	queue, ended := fq.NewQueue(queueLimit), make(chan error, 1)
	began := time.Now()
	go func() {
		ended <- server.Run(t.Context(), queue, beat, func(*packet.Batch) error { return nil })
	}()
	for {
		select {
		case err := <-ended:
			if took := time.Since(began); !errors.Is(err, transport.ErrSilent) || took > 6*beat {
				t.Errorf("%v after %v", err, took)
			}
			return
		case <-time.After(time.Millisecond):
			push(queue, ipPacket(1, 1, 60000))
		}
	}
}

// Whatever comes is a sign of life: pings, and a large message that takes long.
func TestSignsOfLife(t *testing.T) {
	t.Parallel()
	delivered := make(chan [][]byte, 1)
	address, results := serving(t, beat, func(packets [][]byte) { delivered <- packets })
	r := dialRaw(t, address)
	r.connect()
	p := ipPacket(1, 1, 60)
	message := r.bytes(fin|opBinary, p)
	tick := time.NewTicker(beat / 2)
	defer tick.Stop()
	for i := range 6 {
		<-tick.C
		r.frame(fin|opPing, []byte{byte(i)})
	}
	for i := range 6 {
		<-tick.C
		if _, err := r.conn.Write(message[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.conn.Write(message[6:]); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-delivered:
		samePackets(t, got, [][]byte{p})
	case err := <-results:
		t.Errorf("ended with %v", err)
	}
}

// A connection that breaks under us is noticed at once.
func TestReset(t *testing.T) {
	address, results := serving(t, long, func([][]byte) {})
	r := dialRaw(t, address)
	r.connect()
	if err := r.conn.(*net.TCPConn).SetLinger(0); err != nil { // it is one
		t.Fatal(err)
	}
	_ = r.conn.Close()
	if err := <-results; !errors.Is(err, transport.ErrHungUp) {
		t.Errorf("got %v", err)
	}
}
