package server_test

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
)

// errDevice is a failure of the device.
var errDevice = errors.New("read tun0: the device is gone")

// device is a tun.Device in memory; the test is its kernel.
type device struct {
	fromKernel chan [][]byte // packets for ReadBatch
	toKernel   chan []byte   // packets of WriteBatch
	failure    chan error    // what ReadBatch fails with
	closed     chan struct{}
	once       sync.Once
}

func newDevice() *device {
	return &device{
		fromKernel: make(chan [][]byte), toKernel: make(chan []byte, 10000),
		failure: make(chan error, 1), closed: make(chan struct{}),
	}
}

func (d *device) Name() string { return "tun0" }

func (d *device) Offload() packet.Offload { return packet.Offload{Vnet: true, USO: true} }

func (d *device) ReadBatch(b *packet.Batch) error {
	select {
	case packets := <-d.fromKernel:
		for _, p := range packets {
			add(b, p)
		}
		return nil
	case err := <-d.failure:
		return err
	case <-d.closed:
		return os.ErrClosed
	}
}

func (d *device) WriteBatch(b *packet.Batch) (refused int, err error) {
	for _, p := range packetsOf(b) {
		if idOf(p) == refusedID {
			refused++
			continue
		}
		select {
		case d.toKernel <- p:
		case <-d.closed:
			return refused, os.ErrClosed
		}
	}
	return refused, nil
}

// refusedID is the id of a packet that the kernel refuses.
const refusedID = 0xbad

func (d *device) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// sends has the kernel send packets into the device, in one batch.
func (d *device) sends(t *testing.T, packets ...[]byte) {
	t.Helper()
	select {
	case d.fromKernel <- packets:
	case <-time.After(patience):
		t.Fatal("nobody reads the device")
	}
}

// gets returns the next packet that comes out of the device.
func (d *device) gets(t *testing.T) []byte {
	t.Helper()
	select {
	case p := <-d.toKernel:
		return p
	case <-time.After(patience):
		t.Fatal("nothing comes out of the device")
		return nil
	}
}
