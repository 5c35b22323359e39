// Package tuntest has a TUN device in memory, for tests.
package tuntest

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
)

// ErrDevice is a Failure of the device.
var ErrDevice = errors.New("read tun0: the device is gone")

// Device is a tun.Device in memory; the test is its kernel.
type Device struct {
	fromKernel chan [][]byte // packets for ReadBatches
	ToKernel   chan []byte   // packets of WriteBatch
	Failure    chan error    // errors for ReadBatches
	closed     chan struct{}
	once       sync.Once
}

// New returns an open device.
func New() *Device {
	return &Device{
		fromKernel: make(chan [][]byte), ToKernel: make(chan []byte, 10000),
		Failure: make(chan error, 1), closed: make(chan struct{}),
	}
}

// Name returns tun0.
func (d *Device) Name() string { return "tun0" }

// Offload returns all that any kernel has.
func (d *Device) Offload() packet.Offload { return packet.Offload{Vnet: true, USO: true} }

// ReadBatches gives out the packets of Sends, a batch for each call.
func (d *Device) ReadBatches(give func(*packet.Batch)) error {
	var b packet.Batch
	for {
		select {
		case packets := <-d.fromKernel:
			for _, p := range packets {
				Add(&b, p)
			}
			give(&b)
			b.Reset()
		case err := <-d.Failure:
			return err
		case <-d.closed:
			return os.ErrClosed
		}
	}
}

// WriteBatch sends the packets to ToKernel, but refuses those with RefusedID.
func (d *Device) WriteBatch(b *packet.Batch) (refused int, err error) {
	for _, p := range PacketsOf(b) {
		if IDOf(p) == RefusedID {
			refused++
			continue
		}
		select {
		case d.ToKernel <- p:
		case <-d.closed:
			return refused, os.ErrClosed
		}
	}
	return refused, nil
}

// RefusedID is the id of packets that WriteBatch refuses.
const RefusedID = 0xbad

// Closed returns a channel that is closed with the device.
func (d *Device) Closed() <-chan struct{} { return d.closed }

// Close is idempotent.
func (d *Device) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// patience is how long a test waits for what is about to happen, on however busy a machine.
const patience = 20 * time.Second

// Sends has ReadBatches give out packets in one batch.
func (d *Device) Sends(t testing.TB, packets ...[]byte) {
	t.Helper()
	select {
	case d.fromKernel <- packets:
	case <-time.After(patience):
		t.Fatal("nobody reads the device")
	}
}

// Gets returns the next packet that was written to the device.
func (d *Device) Gets(t testing.TB) []byte {
	t.Helper()
	select {
	case p := <-d.ToKernel:
		return p
	case <-time.After(patience):
		t.Fatal("nothing comes out of the device")
		return nil
	}
}
