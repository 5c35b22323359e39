package tun

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"tunnel/packet"
)

// Each packet that is written has an answer at once, and the device's queue is shorter than a batch
// has packets: the writer must read the answers when the reader does not run.
func TestAnswersAreTakenWhileWriting(t *testing.T) {
	inNamespace(t)
	d := up(t, "tun0", Open)
	packets, _ := read(d)

	exchangeEchoes(t, d, packets, 1) // the reader has started
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	exchangeEchoes(t, d, packets, 500) // the reader runs after the writer
}

// Close ends ReadBatches even if each batch causes another.
func TestCloseUnderLoad(t *testing.T) {
	inNamespace(t)
	d := up(t, "tun0", Open)
	conn, err := new(net.Dialer).DialContext(t.Context(), "udp", "10.1.1.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	batches, ended := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		ended <- d.ReadBatches(func(*packet.Batch) {
			_, _ = conn.Write([]byte("another"))
			select {
			case batches <- struct{}{}:
			default:
			}
		})
	}()
	_, _ = conn.Write([]byte("the first"))
	for range 100 {
		<-batches
	}
	_ = d.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("ReadBatches after Close: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("ReadBatches does not end")
	}
}

// exchangeEchoes writes pings, and waits for all answers in order.
func exchangeEchoes(t *testing.T, d Device, packets <-chan []byte, requests uint16) {
	t.Helper()
	var all []byte
	for i := range requests {
		all = append(all, echoRequest(i)...)
	}
	var b packet.Batch
	for len(all) > 0 {
		rest, err := b.Split(all, packet.FramingIP)
		if err != nil {
			t.Fatal(err)
		}
		if refused, err := d.WriteBatch(&b); err != nil || refused != 0 {
			t.Fatalf("WriteBatch = %d refused, %v", refused, err)
		}
		b.Reset()
		all = rest
	}
	patience := time.After(20 * time.Second)
	for next := uint16(0); next < requests; {
		select {
		case p := <-packets:
			if p[0]>>4 != 4 || p[9] != 1 {
				continue // router solicitations of IPv6
			}
			if got := binary.BigEndian.Uint16(p[26:]); got != next {
				t.Fatalf("answer %d came when %d was due", got, next)
			}
			next++
		case <-patience:
			t.Fatalf("answer %d of %d does not come", next, requests)
		}
	}
}

// echoRequest returns a ping from 10.1.1.2 to 10.1.1.1 (RFC 792).
func echoRequest(sequence uint16) []byte {
	p := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 1, 1, 2, 10, 1, 1, 1, 8, 0, 0, 0, 0, 7,
		0, 0}
	binary.BigEndian.PutUint16(p[26:], sequence)
	binary.BigEndian.PutUint16(p[10:], ^onesSum(p[:20]))
	binary.BigEndian.PutUint16(p[22:], ^onesSum(p[20:]))
	return p
}

// onesSum is the sum of RFC 1071.
func onesSum(p []byte) uint16 {
	var sum uint32
	for i := 0; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}
